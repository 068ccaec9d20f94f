package mongo_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/mongo"
)

func TestMain(m *testing.M) {
	if os.Getenv(holderURL) != "" {
		holdTransaction()
	}
	os.Exit(testenv.Main(m))
}

// address is where a store keeps its data.
type address struct{ url, database string }

// newDatabase is the address of a database of its own.
func newDatabase(t testing.TB) address {
	return address{testenv.Mongo(t), "test_" + uuid.NewString()[:8]}
}

func (a address) config(ttl time.Duration) mongo.Config {
	return a.configured(store.Config{FinishedTTL: ttl})
}

func (a address) configured(config store.Config) mongo.Config {
	config.URL, config.Database = a.url, a.database
	return mongo.Config{
		Config: config,
		Log:    hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr}),
	}
}

// open opens a store that is set up.
func (a address) open(t testing.TB) *mongo.Store {
	t.Helper()
	s, err := mongo.Open(a.config(24 * time.Hour))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Init(t.Context()))
	return s
}

// raw is the database as any other client has it.
func (a address) raw(t testing.TB) *driver.Database {
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

// soon is a context that ends when a test must be hanging.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// newRun is the creation of a run of n nodes.
func newRun(n int) record.Commit {
	id := uuid.NewString()
	now := record.Now()
	commit := record.Commit{ID: uuid.NewString(), Run: record.Run{
		ID: id, Cluster: "orders", Playbook: record.PlaybookCopy{Name: "restart", Revision: 1}, State: record.RunPending,
		CreatedTS: now, UpdateTS: now, Seq: 1, Rev: 1,
	}}
	commit.Run.CommitID = commit.ID
	for i := range n {
		commit.Nodes = append(commit.Nodes, record.RunNode{RunID: id, Cluster: "orders", Node: fmt.Sprintf("node-%05d", i), State: record.NodePending, Membership: record.MemberKnown})
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

// longHistory is an entry of a node's history that takes this many bytes.
func longHistory(bytes int) record.NodeChange {
	return record.NodeChange{State: record.NodeRunning, TS: record.Now(), Reason: strings.Repeat("x", bytes)}
}
