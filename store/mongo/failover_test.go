//go:build integration

package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/mongo"
)

// untilKnown repeats a write while its result is unknown, as the callers of a store do.
func untilKnown(t testing.TB, write func(ctx context.Context) error) error {
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		err := write(ctx)
		cancel()
		if !errors.Is(err, store.ErrUnavailable) || t.Context().Err() != nil {
			return err
		}
	}
}

func TestAPrimaryKilledAmongCommitsLosesNoneAndEachIsAppliedOnce(t *testing.T) {
	const (
		writers = 4
		nodes   = 50
		kills   = 3
	)
	set := testenv.MongoSet(t, 3)
	a := address{set.URL, "replicante"}
	s := a.open(t)
	reader, err := mongo.Open(a.config(24 * time.Hour)) // another replica
	must(t, err)
	t.Cleanup(func() { must(t, reader.Close()) })
	term, err := s.BeginTerm(t.Context(), 0)
	must(t, err)

	maintaining, stop := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() { _ = reader.Maintain(maintaining) })
	t.Cleanup(background.Wait)
	t.Cleanup(stop)

	var acknowledged atomic.Int64
	done := make(chan struct{})
	var writing sync.WaitGroup
	last := make([]record.Run, writers)
	followed := make([]chan error, writers)
	for w := range writers {
		create := newRun(nodes)
		must(t, s.Create(t.Context(), term.Term, create))
		last[w], followed[w] = create.Run, make(chan error, 1)
		background.Go(func() {
			seq := int64(0)
			err := reader.Follow(maintaining, create.Run.ID, 0, func(events []record.Event) error {
				for _, event := range events {
					if seq++; event.Seq != seq {
						return fmt.Errorf("event %d was delivered as number %d", event.Seq, seq)
					}
					if event.Type == record.EventRunFinished {
						return errFollowed
					}
				}
				return nil
			})
			followed[w] <- err
		})
		writing.Go(func() {
			for {
				commit := next(last[w])
				commit.Fence = commit.Run.Rev%10 == 0
				commit.Nodes = create.Nodes
				commit.Idempotency = []record.IdempotencyRecord{{Key: commit.ID, Digest: "d", RunID: commit.Run.ID}}
				select {
				case <-done:
					commit.Events[0].Type = record.EventRunFinished
				default:
				}
				if err := untilKnown(t, func(ctx context.Context) error { return s.Commit(ctx, term.Term, commit) }); err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				last[w] = commit.Run
				acknowledged.Add(1)
				if commit.Events[0].Type == record.EventRunFinished {
					return
				}
			}
		})
	}

	progress := func(n int64) {
		t.Helper()
		until := acknowledged.Load() + n
		for deadline := time.Now().Add(time.Minute); acknowledged.Load() < until; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) || t.Failed() {
				t.Fatal("no further commits")
			}
		}
	}
	for range kills {
		progress(50)
		primary := set.Primary(t)
		set.Kill(primary)
		killed := time.Now()
		progress(1)
		t.Logf("commits continue %s after the primary was killed, at %d", time.Since(killed), acknowledged.Load())
		progress(50)
		set.Start(t, primary)
	}
	close(done)
	writing.Wait()

	for w, run := range last {
		stored, err := s.Run(t.Context(), run.ID)
		must(t, err)
		if stored.Rev != run.Rev || stored.CommitID != run.CommitID || stored.Seq != run.Seq {
			t.Errorf("the run is at %d, %s, %d; acknowledged was %d, %s, %d", stored.Rev, stored.CommitID, stored.Seq, run.Rev, run.CommitID, run.Seq)
		}
		events, err := s.Events(t.Context(), run.ID, 0, 0)
		must(t, err)
		for i, event := range events {
			if event.Seq != int64(i)+1 {
				t.Fatalf("event %d is at position %d", event.Seq, i+1)
			}
		}
		if int64(len(events)) != run.Seq {
			t.Errorf("%d events instead of %d", len(events), run.Seq)
		}
		select {
		case err := <-followed[w]:
			if !errors.Is(err, errFollowed) {
				t.Errorf("follow: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("a follower did not see the end")
		}
	}

	// The next leader takes over a set that has just lost its primary.
	set.Kill(set.Primary(t))
	var next record.Term
	must(t, untilKnown(t, func(ctx context.Context) (err error) { next, err = reader.BeginTerm(ctx, 0); return err }))
	must(t, untilKnown(t, func(ctx context.Context) error {
		_, found, err := reader.Claim(ctx, next.Term, last[0].ID)
		if err == nil && len(found) != nodes {
			t.Errorf("%d nodes", len(found))
		}
		return err
	}))
}

// The server answers as it does when it refuses to write on a full disk. A server that cannot write its journal at all ends
// itself, and another one becomes primary.
func TestAPrimaryWithoutRoomIsWaitedFor(t *testing.T) {
	set := testenv.MongoSet(t, 1, "--setParameter", "enableTestCommands=1")
	a := address{set.URL, "replicante"}
	s := a.open(t)
	ctx := soon(t)
	term, err := s.BeginTerm(ctx, 0)
	must(t, err)
	create := newRun(1)
	must(t, s.Create(ctx, term.Term, create))
	full := func(mode any) {
		must(t, a.raw(t).Client().Database("admin").RunCommand(ctx, bson.D{
			{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode},
			{Key: "data", Value: bson.D{{Key: "errorCode", Value: 14031}, {Key: "failCommands", Value: bson.A{"update", "insert", "bulkWrite"}}}},
		}).Err())
	}
	full("alwaysOn")
	commit := next(create.Run)
	err = s.Commit(ctx, term.Term, commit)
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "is full, make room on it") {
		t.Errorf("a commit on a full disk: %v", err)
	}
	if _, err := s.Term(ctx); !errors.Is(err, store.ErrUnavailable) { // as readiness is checked
		t.Errorf("reading the term on a full disk: %v", err)
	}
	full("off")
	must(t, s.Commit(ctx, term.Term, commit))
}

// The result of a commit is unknown because no majority has it yet. When it is repeated, the majority gets it while the
// repetition looks for the reason of its refusal, between the reads of the key and of the run.
func TestACommitThatIsAppliedWhileItsRepetitionIsExplainedIsAppliedOnce(t *testing.T) {
	set := testenv.MongoSet(t, 3, "--setParameter", "enableTestCommands=1")
	a := address{set.URL, "replicante"}
	replicate := func(on bool) {
		primary := set.Primary(t)
		for i := range 3 {
			if i != primary {
				if err := set.SetReplication(i, on); err != nil {
					t.Errorf("member %d: %v", i, err)
				}
			}
		}
	}
	raw := a.raw(t)
	var repeating atomic.Bool
	var heal sync.Once
	healed := func() { // returns when a majority has everything
		replicate(true)
		if _, err := raw.Collection("heal").InsertOne(t.Context(), bson.D{}); err != nil {
			t.Errorf("a write after replication continued: %v", err)
		}
	}
	config := a.config(time.Hour)
	config.Monitor(&event.CommandMonitor{Succeeded: func(_ context.Context, e *event.CommandSucceededEvent) {
		cursor, _ := e.Reply.Lookup("cursor", "ns").StringValueOK()
		if repeating.Load() && e.CommandName == "find" && cursor == "replicante.playbook_runs" {
			heal.Do(healed)
		}
	}})
	s, err := mongo.Open(config)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Init(t.Context()))
	term, err := s.BeginTerm(t.Context(), 0)
	must(t, err)
	create := newRun(2)
	must(t, s.Create(t.Context(), term.Term, create))

	commit := next(create.Run)
	commit.Idempotency = []record.IdempotencyRecord{{Key: commit.ID, Digest: "d", RunID: commit.Run.ID}}
	replicate(false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Commit(ctx, term.Term, commit); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("a commit that no majority has returns %v", err)
	}
	repeating.Store(true)
	healing := time.AfterFunc(2*time.Second, func() { heal.Do(healed) })
	defer healing.Stop()
	if err := s.Commit(soon(t), term.Term, commit); err != nil {
		t.Errorf("repeated: %v", err)
	}
}

var errFollowed = errors.New("followed to the end")
