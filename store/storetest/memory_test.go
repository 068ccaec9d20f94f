package storetest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func inMemory(testing.TB) Place {
	m := newMemory()
	return Place{
		Open: func(ttl time.Duration) (store.Store, error) {
			m.ttl = ttl
			return m, nil
		},
		Shared: true,
		SetSchema: func(version int) error {
			m.term.Schema = version
			return nil
		},
	}
}

func TestMemoryKeepsThePromisesOfAStore(t *testing.T) { Run(t, inMemory) }

func BenchmarkMemory(b *testing.B) {
	b.Run("Create10000", func(b *testing.B) { BenchmarkCreate10000(b, inMemory) })
	b.Run("Commit1024", func(b *testing.B) { BenchmarkCommit1024(b, inMemory) })
	b.Run("Claim10000", func(b *testing.B) { BenchmarkClaim10000(b, inMemory) })
}

func TestAFailedCommitLandsOrDoesNotAsItIsTold(t *testing.T) {
	for _, landed := range []bool{true, false} {
		m := NewMemory()
		term := lead(t, m)
		run := create(t, m, term, 1)
		m.FailNext("Commit", landed)
		commit := after(run)
		refused(t, "commit", m.Commit(t.Context(), term, commit), store.ErrUnavailable)
		is, err := m.Run(t.Context(), run.ID)
		must(t, err)
		if (is.CommitID == commit.ID) != landed {
			t.Errorf("landed: %v, not %v", is.CommitID == commit.ID, landed)
		}
		must(t, m.Commit(t.Context(), term, commit))
	}
}

func TestAnInterceptorMayHoldAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		term := lead(t, m)
		run := create(t, m, term, 1)
		release := make(chan struct{})
		m.Intercept(func(op string, do func() error) error {
			if op == "Commit" {
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
		commit := after(run)
		addEvents(&commit, 3)
		landed := make(chan error, 1)
		go func() { landed <- m.Commit(ctx, term, commit) }()
		synctest.Wait()
		same(t, "events while the commit is held", seen, []int64{})
		close(release)
		must(t, <-landed)
		synctest.Wait()
		same(t, "events", seen, []int64{3, 4, 5})
		stop()
		must(t, <-followed)
	})
}

func TestAMethodOfAnEndedContextIsInDoubt(t *testing.T) {
	m := NewMemory()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := m.BeginTerm(ctx, 0)
	if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAStoreWithSomethingAroundItsCallsKeepsThePromises(t *testing.T) {
	Run(t, func(tb testing.TB) Place {
		place := inMemory(tb)
		open := place.Open
		place.Open = func(ttl time.Duration) (store.Store, error) {
			inner, err := open(ttl)
			return &store.Interceptor{Store: inner, Call: func(_ context.Context, method string, do func() error) error {
				if _, there := reflect.TypeFor[store.Store]().MethodByName(method); !there {
					tb.Errorf("a call is named %s", method)
				}
				return do()
			}}, err
		}
		return place
	})
}

func TestNoCallPassesWhatIsAroundAStore(t *testing.T) {
	for method := range reflect.TypeFor[store.Store]().Methods() {
		if method.Name == "Maintain" || method.Name == "Close" {
			continue
		}
		t.Run(method.Name, func(t *testing.T) {
			var seen []string
			around := &store.Interceptor{Call: func(_ context.Context, method string, _ func() error) error {
				seen = append(seen, method)
				return store.ErrUnavailable
			}}
			call := reflect.ValueOf(around).MethodByName(method.Name)
			args := []reflect.Value{reflect.ValueOf(t.Context())}
			for i := 1; i < call.Type().NumIn(); i++ {
				args = append(args, reflect.Zero(call.Type().In(i)))
			}
			answers := call.Call(args)
			if err, _ := answers[len(answers)-1].Interface().(error); !errors.Is(err, store.ErrUnavailable) || len(seen) != 1 || seen[0] != method.Name {
				t.Errorf("it answers %v, and what is around it saw %v", err, seen)
			}
		})
	}
}
