package sqlite_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/sqlite"
)

func TestARunThatHasEndedButIsNotStampedDoesNotExpire(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s, err := sqlite.Open(ctx, sqlite.Config{
		Config:         store.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "core.db"), FinishedTTL: time.Hour},
		ExpireInterval: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Init(ctx); err != nil {
		t.Fatal(err)
	}
	term, err := s.BeginTerm(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	long := record.Now().Add(-24 * time.Hour)
	for _, id := range []string{"unstamped", "stamped"} {
		create := record.Commit{ID: id, Run: record.Run{
			ID: id, Term: term.Term, Rev: 1, Seq: 1, State: record.RunDone, CreatedTS: long, FinishTS: &long,
		}, Events: []record.Event{{RunID: id, Seq: 1, TS: long}}}
		if err := s.Create(ctx, term.Term, create); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.StampFinished(ctx, term.Term, "stamped"); err != nil {
		t.Fatal(err)
	}
	maintained := make(chan error, 1)
	go func() { maintained <- s.Maintain(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for err = nil; !errors.Is(err, store.ErrNotFound); _, err = s.Run(ctx, "stamped") {
		if err != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
	if events, err := s.Events(ctx, "unstamped", 0, 0); err != nil || len(events) != 1 {
		t.Errorf("the run that is not stamped has %d events: %v", len(events), err)
	}
	stop()
	if err := <-maintained; err != nil {
		t.Error(err)
	}
}
