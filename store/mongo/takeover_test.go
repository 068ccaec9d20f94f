package mongo_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/mongo"
)

// The environment variables of a process that begins a term and then holds a transaction open.
const (
	holderURL      = "MONGO_TEST_HOLDER_URL"
	holderDatabase = "MONGO_TEST_HOLDER_DATABASE"
	holderRun      = "MONGO_TEST_HOLDER_RUN"
)

func holdTransaction() {
	ctx := context.Background()
	a := address{os.Getenv(holderURL), os.Getenv(holderDatabase)}
	err := func() error {
		s, err := mongo.Open(a.config(time.Hour))
		if err != nil {
			return err
		}
		term, err := s.BeginTerm(ctx, 0)
		if err != nil {
			return err
		}
		if _, _, err := s.Claim(ctx, term.Term, os.Getenv(holderRun)); err != nil {
			return err
		}
		return s.Hold(ctx, term.Term, os.Getenv(holderRun), func() { fmt.Println("held") })
	}()
	fmt.Println(err)
	os.Exit(1)
}

func TestALeaderKilledInATransactionDoesNotBlockTheNext(t *testing.T) {
	a := newDatabase(t)
	s := a.open(t)
	ctx := soon(t)
	term, err := s.BeginTerm(ctx, 0)
	must(t, err)
	create := newRun(3)
	must(t, s.Create(ctx, term.Term, create))

	holder := exec.Command(os.Args[0], "-test.run=^$")
	holder.Env = append(os.Environ(), holderURL+"="+a.url, holderDatabase+"="+a.database, holderRun+"="+create.Run.ID)
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "held" {
		t.Fatalf("the holder printed %q, %v", line, err)
	}
	must(t, holder.Process.Kill())
	_ = holder.Wait()

	// The server has not noticed that its client is dead.
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, err = a.raw(t).Collection("playbook_runs").UpdateOne(short, bson.D{{Key: "_id", Value: create.Run.ID}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "rev", Value: 1}}}})
	if !driver.IsTimeout(err) {
		t.Fatalf("no transaction blocks the run: %v", err)
	}

	term, err = s.BeginTerm(ctx, 0) // ctx ends before the transaction would end by itself
	must(t, err)
	run, nodes, err := s.Claim(ctx, term.Term, create.Run.ID)
	must(t, err)
	if term.Term != 3 || run.Term != 3 || len(nodes) != 3 {
		t.Errorf("term %d has a run of term %d with %d nodes", term.Term, run.Term, len(nodes))
	}
}

func TestATransactionOfARunningLeaderIsKilledByTheNext(t *testing.T) {
	a := newDatabase(t)
	old, s := a.open(t), a.open(t)
	ctx := soon(t)
	term, err := old.BeginTerm(ctx, 0)
	must(t, err)
	create := newRun(1)
	must(t, old.Create(ctx, term.Term, create))

	held, ended := make(chan struct{}), make(chan error, 1)
	holding, release := context.WithCancel(ctx)
	go func() {
		ended <- old.Hold(holding, term.Term, create.Run.ID, func() { close(held) })
	}()
	<-held
	next, err := s.BeginTerm(ctx, 0)
	must(t, err)
	release()
	<-ended
	if err := old.Create(ctx, term.Term, newRun(1)); !errors.Is(err, store.ErrStaleTerm) {
		t.Errorf("a create of term %d after term %d began: %v", term.Term, next.Term, err)
	}
}

func TestTheStoreStaysUsableAfterCommitsWhoseCallersGaveUp(t *testing.T) {
	a := newDatabase(t)
	s := a.open(t)
	ctx := soon(t)
	term, err := s.BeginTerm(ctx, 0)
	must(t, err)
	create := newRun(200)
	must(t, s.Create(ctx, term.Term, create))
	run := create.Run
	for i := range 60 { // more often than there are sessions
		commit := next(run)
		commit.Nodes = create.Nodes
		brief, cancel := context.WithTimeout(ctx, time.Duration(i)*time.Millisecond)
		err := s.Commit(brief, term.Term, commit)
		cancel()
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		if err != nil {
			must(t, s.Commit(ctx, term.Term, commit))
		}
		run = commit.Run
	}
	stored, err := s.Run(ctx, run.ID)
	must(t, err)
	events, err := s.Events(ctx, run.ID, 0, 0)
	must(t, err)
	if stored.Rev != run.Rev || len(events) != 61 {
		t.Errorf("revision %d and %d events instead of %d and 61", stored.Rev, len(events), run.Rev)
	}
}

func TestFollowingContinuesAfterTheServerLostTheChangeStream(t *testing.T) {
	a := newDatabase(t)
	s := a.open(t)
	ctx := soon(t)
	maintaining, stop := context.WithCancel(ctx)
	maintained := make(chan error, 1)
	go func() { maintained <- s.Maintain(maintaining) }()
	term, err := s.BeginTerm(ctx, 0)
	must(t, err)
	create := newRun(1)
	must(t, s.Create(ctx, term.Term, create))
	seen := make(chan int64, 100)
	go func() {
		_ = s.Follow(maintaining, create.Run.ID, 0, func(events []record.Event) error {
			for _, event := range events {
				seen <- event.Seq
			}
			return nil
		})
	}()
	run := create.Run
	for seq := int64(1); seq <= 10; seq++ {
		select {
		case got := <-seen:
			if got != seq {
				t.Fatalf("event %d came instead of %d", got, seq)
			}
		case <-ctx.Done():
			t.Fatalf("event %d did not come", seq)
		}
		must(t, a.raw(t).Client().Database("admin").RunCommand(ctx, bson.D{{Key: "killAllSessions", Value: bson.A{}}}).Err())
		commit := next(run)
		must(t, s.Commit(ctx, term.Term, commit))
		run = commit.Run
	}
	stop()
	must(t, <-maintained)
}
