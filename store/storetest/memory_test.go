package storetest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func inMemory(testing.TB) Database {
	m := newEmptyMemory()
	return Database{
		Open: func(config store.Config) (store.Store, error) {
			m.config = config
			return m, nil
		},
		Shared: true,
		SetSchema: func(version int) error {
			m.term.Schema = version
			return nil
		},
	}
}

func TestMemoryPassesTheSuite(t *testing.T) { Run(t, inMemory) }

func BenchmarkMemory(b *testing.B) {
	b.Run("Create10000", func(b *testing.B) { BenchmarkCreate10000(b, inMemory) })
	b.Run("Commit1024", func(b *testing.B) { BenchmarkCommit1024(b, inMemory) })
	b.Run("Claim10000", func(b *testing.B) { BenchmarkClaim10000(b, inMemory) })
}

func TestFailNextAppliesTheCommitOrNot(t *testing.T) {
	for _, applied := range []bool{true, false} {
		m := NewMemory()
		term := beginTerm(t, m)
		run := create(t, m, term, 1)
		m.FailNext("Commit", applied)
		commit := nextCommit(run)
		wantError(t, "commit", m.Commit(t.Context(), term, commit), store.ErrUnavailable)
		stored, err := m.Run(t.Context(), run.ID)
		must(t, err)
		if (stored.CommitID == commit.ID) != applied {
			t.Errorf("the commit was applied: %v, not %v", stored.CommitID == commit.ID, applied)
		}
		must(t, m.Commit(t.Context(), term, commit))
	}
}

func TestAnInterceptorCanDelayAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		term := beginTerm(t, m)
		run := create(t, m, term, 1)
		release := make(chan struct{})
		m.Intercept(func(method string, do func() error) error {
			if method == "Commit" {
				<-release
			}
			return do()
		})
		ctx, stop := context.WithCancel(t.Context())
		var seen []int64
		followed := make(chan error, 1)
		go func() {
			followed <- m.Follow(ctx, run.ID, 2, func(events []record.Event) error {
				for _, event := range events {
					seen = append(seen, event.Seq)
				}
				return nil
			})
		}()
		commit := nextCommit(run)
		addEvents(&commit, 3)
		committed := make(chan error, 1)
		go func() { committed <- m.Commit(ctx, term, commit) }()
		synctest.Wait()
		same(t, "events while the commit is delayed", seen, []int64{})
		close(release)
		must(t, <-committed)
		synctest.Wait()
		same(t, "events", seen, []int64{3, 4, 5})
		stop()
		must(t, <-followed)
	})
}

func TestACallInAnEndedContextIsUnavailable(t *testing.T) {
	m := NewMemory()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := m.BeginTerm(ctx, 0)
	if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAnInterceptedStorePassesTheSuite(t *testing.T) {
	Run(t, func(tb testing.TB) Database {
		database := inMemory(tb)
		open := database.Open
		database.Open = func(config store.Config) (store.Store, error) {
			inner, err := open(config)
			return &store.Interceptor{Store: inner, Call: func(_ context.Context, method string, do func() error) error {
				if _, there := reflect.TypeFor[store.Store]().MethodByName(method); !there {
					tb.Errorf("an unknown method %s is called", method)
				}
				return do()
			}}, err
		}
		return database
	})
}

func TestEveryCallPassesTheInterceptor(t *testing.T) {
	for method := range reflect.TypeFor[store.Store]().Methods() {
		if method.Name == "Maintain" || method.Name == "Close" {
			continue
		}
		t.Run(method.Name, func(t *testing.T) {
			var seen []string
			intercepted := &store.Interceptor{Call: func(_ context.Context, method string, _ func() error) error {
				seen = append(seen, method)
				return store.ErrUnavailable
			}}
			call := reflect.ValueOf(intercepted).MethodByName(method.Name)
			args := []reflect.Value{reflect.ValueOf(t.Context())}
			for i := 1; i < call.Type().NumIn(); i++ {
				args = append(args, reflect.Zero(call.Type().In(i)))
			}
			results := call.Call(args)
			if err, _ := results[len(results)-1].Interface().(error); !errors.Is(err, store.ErrUnavailable) || len(seen) != 1 || seen[0] != method.Name {
				t.Errorf("the call returns %v, and the interceptor saw %v", err, seen)
			}
		})
	}
}
