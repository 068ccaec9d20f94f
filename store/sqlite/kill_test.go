package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/sqlite"
)

// killedEnv is the environment variable that names the file to the process that will be killed.
const killedEnv = "PLAYBOOKS_TEST_SQLITE_KILLED"

func TestMain(m *testing.M) {
	if path := os.Getenv(killedEnv); path != "" {
		fmt.Println("failed:", commitUntilKilled(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// commitUntilKilled makes commits to the run "r" and prints the ID of each that was acknowledged.
func commitUntilKilled(path string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, sqlite.Config{Config: store.Config{URL: "sqlite://" + path}})
	if err != nil {
		return err
	}
	if err := s.Init(ctx); err != nil {
		return err
	}
	term, err := s.BeginTerm(ctx, 0)
	if err != nil {
		return err
	}
	now := record.Now()
	create := record.Commit{ID: "created", Run: record.Run{ID: "r", CommitID: "created", Rev: 1, Term: term.Term, State: record.RunRunning, CreatedTS: now}}
	if _, err := s.Run(ctx, "r"); err != nil {
		if err := s.Create(ctx, term.Term, create); err != nil {
			return err
		}
	}
	run, _, err := s.Claim(ctx, term.Term, "r")
	if err != nil {
		return err
	}
	for {
		commit := record.Commit{ID: uuid.NewString(), After: run.CommitID, Run: run}
		commit.Run.Rev++
		commit.Run.CommitID = commit.ID
		for i := range 16 {
			commit.Run.Seq++
			commit.Nodes = append(commit.Nodes, record.RunNode{RunID: "r", Node: fmt.Sprint(i), Error: &record.Error{Code: commit.ID, Message: strings.Repeat("x", 1000)}})
			commit.Events = append(commit.Events, record.Event{RunID: "r", Seq: commit.Run.Seq, TS: now, Data: record.Document{"commit": commit.ID}})
		}
		if err := s.Commit(ctx, term.Term, commit); err != nil {
			return err
		}
		fmt.Println(commit.ID)
		run = commit.Run
	}
}

func TestEveryAcknowledgedCommitSurvivesAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "core.db")
	var acknowledged []string
	for round := 1; round <= 3; round++ {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), killedEnv+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "failed") {
				t.Error(lines.Text())
			} else if len(lines.Text()) == len(uuid.Nil.String()) { // the kill may have cut a line
				acknowledged = append(acknowledged, lines.Text())
			}
			if n == 150*round {
				_ = child.Process.Kill() // and read what it printed before
			}
		}
		_ = child.Wait()

		verify(t, path, acknowledged)
	}
}

// A test cannot cut the power; it can check what is asked of the disk.
func TestACommitWaitsForTheDisk(t *testing.T) {
	level, err := setUp(t, filepath.Join(t.TempDir(), "core.db")).Synchronous(t.Context())
	if err != nil || level != 2 {
		t.Errorf("synchronous is %d: %v", level, err)
	}
}

func verify(t *testing.T, path string, acknowledged []string) {
	t.Helper()
	s := open(t, "sqlite://"+path)
	defer s.Close()
	run, err := s.Run(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(t.Context(), "r", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	for i, event := range events {
		if event.Seq != int64(i)+1 {
			t.Fatalf("event %d is at position %d", event.Seq, i+1)
		}
		stored[event.Data["commit"].(string)]++
	}
	for _, id := range acknowledged {
		if stored[id] != 16 {
			t.Errorf("the acknowledged commit %s is there with %d of 16 events", id, stored[id])
		}
	}
	nodes, _, err := s.RunNodes(t.Context(), "r", nil, store.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		if node.Error.Code != run.CommitID {
			t.Errorf("node %s is of commit %s, the run of %s", node.Node, node.Error.Code, run.CommitID)
		}
	}
	if run.Seq != int64(len(events)) || len(acknowledged) == 0 || len(nodes) != 16 {
		t.Errorf("after %d acknowledged commits there are %d events, %d nodes, and the run's number is %d", len(acknowledged), len(events), len(nodes), run.Seq)
	}
	t.Logf("%d commits were acknowledged, %d stored", len(acknowledged), len(stored))
}
