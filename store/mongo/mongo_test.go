package mongo_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/mongo"
)

func TestMain(m *testing.M) {
	if url := os.Getenv("MONGO_TEST_DIE_IN_TRANSACTION"); url != "" {
		dieInTransaction(url)
	}
	os.Exit(testenv.Main(m))
}

// at is a store's place: a database of its own.
type at struct{ url, database string }

func place(t testing.TB) at {
	return at{testenv.Mongo(t), "test_" + uuid.NewString()[:8]}
}

func (a at) config(ttl time.Duration) mongo.Config {
	return mongo.Config{
		Config: store.Config{URL: a.url, Database: a.database, FinishedTTL: ttl},
		Log:    hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr}),
	}
}

// open opens a store that is set up.
func (a at) open(t testing.TB) *mongo.Store {
	t.Helper()
	s, err := mongo.Open(a.config(24 * time.Hour))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Init(t.Context()))
	return s
}

// raw is the database as any client sees it.
func (a at) raw(t testing.TB) *driver.Database {
	t.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(a.url))
	must(t, err)
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client.Database(a.database)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// soon is a context that ends before a test is thought to hang.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// newRun makes a run of n nodes that was not created yet.
func newRun(n int) record.Commit {
	id := uuid.NewString()
	now := record.Now()
	commit := record.Commit{ID: uuid.NewString(), Run: record.Run{
		ID: id, Cluster: "orders", Playbook: record.PlaybookCopy{Name: "restart", Revision: 1}, State: record.RunPending,
		CreatedTS: now, UpdateTS: now, Seq: 1, Rev: 1,
	}}
	commit.Run.CommitID = commit.ID
	for i := range n {
		commit.Nodes = append(commit.Nodes, record.Node{RunID: id, Cluster: "orders", Node: fmt.Sprintf("node-%05d", i), State: record.NodePending, Membership: record.MemberKnown})
	}
	commit.Events = []record.Event{{RunID: id, Seq: 1, TS: now, Type: record.EventRunCreated}}
	return commit
}

// next is a commit with one event that follows run.
func next(run record.Run) record.Commit {
	commit := record.Commit{ID: uuid.NewString(), After: run.CommitID, Run: run}
	commit.Run.Rev++
	commit.Run.Seq++
	commit.Run.CommitID = commit.ID
	commit.Run.UpdateTS = record.Now()
	commit.Events = []record.Event{{RunID: run.ID, Seq: commit.Run.Seq, TS: commit.Run.UpdateTS, Type: record.EventRunWaiting}}
	return commit
}

func TestTiming(t *testing.T) {
	a := place(t)
	start := time.Now()
	s := a.open(t)
	t.Log("open+init", time.Since(start))
	start = time.Now()
	must(t, s.Init(t.Context()))
	t.Log("init again", time.Since(start))
	start = time.Now()
	term, err := s.Lead(t.Context(), 0)
	must(t, err)
	t.Log("lead", time.Since(start))
	for _, n := range []int{1000, 10000} {
		create := newRun(n)
		start = time.Now()
		must(t, s.Create(t.Context(), term.Term, create))
		t.Log("create", n, time.Since(start))
		start = time.Now()
		run, nodes, err := s.Claim(t.Context(), term.Term, create.Run.ID)
		must(t, err)
		t.Log("claim", len(nodes), time.Since(start))
		for range 3 {
			c := next(run)
			c.Events = nil
			for i := range 1024 {
				if i >= len(nodes) {
					break
				}
				nodes[i].State = record.NodeRunning
				nodes[i].Actions = append(nodes[i].Actions, record.Action{ID: uuid.NewString(), Stage: "restart", Step: "restart", Attempt: 1, Kind: "external.agent.replicante.io/restart", AgentURL: "http://127.0.0.1:1234/", StartTS: record.Now(), Args: map[string]any{"grace": "30s"}})
				c.Nodes = append(c.Nodes, nodes[i])
				c.Run.Seq = run.Seq + int64(i) + 1
				c.Events = append(c.Events, record.Event{RunID: run.ID, Seq: c.Run.Seq, TS: record.Now(), Type: record.EventNodeState, Node: nodes[i].Node, Data: map[string]any{"state": "RUNNING"}})
			}
			start = time.Now()
			must(t, s.Commit(t.Context(), term.Term, c))
			t.Log("commit", len(c.Nodes), time.Since(start))
			run = c.Run
		}
		c := next(run)
		c.Run.FinishTS = new(record.Now())
		start = time.Now()
		must(t, s.Commit(t.Context(), term.Term, c))
		t.Log("small commit", time.Since(start))
		start = time.Now()
		must(t, s.Seal(t.Context(), term.Term, c.Run.ID))
		t.Log("seal", time.Since(start))
		c2 := next(c.Run)
		c2.Run.FinishTS = nil
		c2.Fence = true
		start = time.Now()
		must(t, s.Commit(t.Context(), term.Term, c2))
		t.Log("reopen", time.Since(start))
	}
}
func dieInTransaction(url string) { _ = bson.D{} }
