package mongo_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/mongo"
)

func TestAURLThatWouldBreakAPromiseIsRefused(t *testing.T) {
	for _, test := range []struct{ url, message string }{
		{"http://db-1", "mongodb://"},
		{"mongodb://db-1/?replicaSet=rs0&w=1", `remove "w=1"`},
		{"mongodb://db-1/?W=majority", `remove "W=majority"`},
		{"mongodb://db-1/?journal=false", `remove "journal=false"`},
		{"mongodb://db-1/?readConcernLevel=local", `remove "readConcernLevel=local"`},
		{"mongodb://db-1/?readPreference=secondaryPreferred", "primary"},
		{"mongodb://db-1/?retryWrites=false", "retries"},
		{"mongodb://db-1/?loadBalanced=true", "members"},
		{"mongodb://", "store.url"},
	} {
		a := address{test.url, "replicante"}
		_, err := mongo.Open(a.config(time.Hour))
		if !errors.Is(err, store.ErrUnusable) || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: %v", test.url, err)
		}
	}
	if _, err := mongo.Open(address{url: "mongodb://db-1"}.config(0)); !errors.Is(err, store.ErrUnusable) {
		t.Errorf("no database: %v", err)
	}
	s, err := mongo.Open(address{"mongodb://db-1/?replicaSet=rs0&readPreference=primary&retryWrites=true&w", "replicante"}.config(0))
	if err == nil {
		must(t, s.Close())
		t.Error("an option without a value was not refused")
	}
}

// wantProblem checks what Check and Init report about a store that cannot be used.
func wantProblem(t *testing.T, url string, want error, message string) {
	t.Helper()
	s, err := mongo.Open(address{url, "replicante"}.config(time.Hour))
	must(t, err)
	defer s.Close()
	ctx := soon(t)
	if err := s.Init(ctx); !errors.Is(err, want) || !strings.Contains(err.Error(), message) {
		t.Errorf("init of %s: %v", url, err)
	}
	wrong, err := s.Check(ctx)
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	if !strings.Contains(strings.Join(wrong, "\n"), message) {
		t.Errorf("check of %s: %q", url, wrong)
	}
}

func TestAServerThatCannotBeUsedIsReportedWithWhatToDo(t *testing.T) {
	t.Run("standalone", func(t *testing.T) {
		t.Parallel()
		alone := testenv.NewMongod(t)
		wantProblem(t, "mongodb://"+alone.Addr, store.ErrUnusable, "--replSet")
		wantProblem(t, "mongodb://"+alone.Addr+"/?replicaSet=rs0&serverSelectionTimeoutMS=500", store.ErrUnusable, "--replSet")
	})
	t.Run("wrong set name", func(t *testing.T) {
		t.Parallel()
		url := strings.Replace(testenv.Mongo(t), "replicaSet=rs0", "replicaSet=other", 1)
		wantProblem(t, url+"&serverSelectionTimeoutMS=500", store.ErrUnusable, `belongs to replica set "rs0"`)
	})
	t.Run("unreachable", func(t *testing.T) {
		t.Parallel()
		wantProblem(t, "mongodb://127.0.0.1:1/?replicaSet=rs0&serverSelectionTimeoutMS=500", store.ErrUnavailable, "127.0.0.1:1 does not answer (dial tcp 127.0.0.1:1: connect: connection refused): check that mongod runs")
	})
}

func TestMissingPrivilegesAreReportedWithWhatToDo(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(key, []byte("c2VjcmV0IG9mIGEgdGVzdA=="), 0o400))
	set := testenv.MongoSet(t, 1, "--keyFile", key)
	ctx := soon(t)
	user := func(client *driver.Client, name string, roles ...any) {
		t.Helper()
		must(t, client.Database("admin").RunCommand(ctx, bson.D{{Key: "createUser", Value: name}, {Key: "pwd", Value: "secret"}, {Key: "roles", Value: roles}}).Err())
	}
	connect := func(url string) *driver.Client {
		client, err := driver.Connect(options.Client().ApplyURI(url))
		must(t, err)
		t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
		return client
	}
	as := func(who string) string { return strings.Replace(set.URL, "mongodb://", "mongodb://"+who+"@", 1) }
	user(connect(set.URL), "root", "root") // the first user needs no rights to be made
	admin := connect(as("root:secret"))
	user(admin, "core", bson.D{{Key: "role", Value: "readWrite"}, {Key: "db", Value: "replicante"}})
	user(admin, "reader", bson.D{{Key: "role", Value: "read"}, {Key: "db", Value: "replicante"}})

	wantProblem(t, as("core:wrong"), store.ErrUnusable, "refuses the user or its password")
	wantProblem(t, set.URL, store.ErrUnusable, "requires a user")
	wantProblem(t, as("reader:secret"), store.ErrUnusable, `db.grantRolesToUser("reader", [{role: "readWrite", db: "replicante"}])`)

	// readWrite on the database is enough, also to change the TTL and to kill what an earlier leader holds.
	a := address{as("core:secret"), "replicante"}
	old, s := a.open(t), a.open(t)
	other, err := mongo.Open(a.config(time.Hour))
	must(t, err)
	defer other.Close()
	must(t, other.Init(ctx))
	term, err := old.BeginTerm(ctx, 0)
	must(t, err)
	create := newRun(1)
	must(t, old.Create(ctx, term.Term, create))
	held := make(chan struct{})
	holding, release := context.WithCancel(ctx)
	defer release()
	go func() { _ = old.Hold(holding, term.Term, create.Run.ID, func() { close(held) }) }()
	<-held
	term, err = s.BeginTerm(ctx, 0) // ctx ends before the transaction would end by itself
	must(t, err)
	_, _, err = s.Claim(ctx, term.Term, create.Run.ID)
	must(t, err)
}

// ttls are the expiry times of the collections, in seconds.
func ttls(t *testing.T, db *driver.Database) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	for _, name := range []string{"playbook_runs", "playbook_run_agents", "playbook_run_events", "idempotency_keys"} {
		specs, err := db.Collection(name).Indexes().ListSpecifications(t.Context())
		must(t, err)
		for _, spec := range specs {
			if spec.ExpireAfterSeconds != nil {
				found[name] = int64(*spec.ExpireAfterSeconds)
			}
		}
	}
	return found
}

func TestATTLThatTheIndexesDoNotHaveIsReportedByCheckAndAppliedByInit(t *testing.T) {
	a := newDatabase(t)
	s := a.open(t)
	ctx := soon(t)
	if wrong, err := s.Check(ctx); err != nil || len(wrong) > 0 {
		t.Fatalf("after init: %q, %v", wrong, err)
	}
	for _, ttl := range []time.Duration{2 * time.Hour, 0} {
		config := a.config(ttl)
		unchanged, err := mongo.Open(config)
		must(t, err)
		defer unchanged.Close()
		before := ttls(t, a.raw(t))
		must(t, unchanged.Init(ctx))
		if after := ttls(t, a.raw(t)); !maps.Equal(before, after) {
			t.Errorf("another configuration changes the TTL from %v to %v", before, after)
		}
		_, err = a.raw(t).Collection("terms").UpdateByID(ctx, "terms", bson.D{{Key: "$set", Value: bson.D{{Key: "finished_ttl_seconds", Value: int64(ttl.Seconds())}}}})
		must(t, err)
		config.SetFinishedTTL = true
		other, err := mongo.Open(config)
		must(t, err)
		defer other.Close()
		wrong, err := other.Check(ctx)
		must(t, err)
		if len(wrong) != 4 || !strings.Contains(wrong[0], "replicore store init") {
			t.Errorf("with another TTL: %q", wrong)
		}
		must(t, other.Init(ctx))
		want := int64(ttl.Seconds())
		if ttl == 0 {
			want = 1<<31 - 1
		}
		found := ttls(t, a.raw(t))
		for name, seconds := range found {
			if seconds != want {
				t.Errorf("%s expires after %d s instead of %d", name, seconds, want)
			}
		}
		if len(found) != 4 {
			t.Errorf("TTL indexes: %v", found)
		}
	}
}

func TestAnIndexThatIsNotOursIsReportedAndKept(t *testing.T) {
	a := newDatabase(t)
	ctx := soon(t)
	runs := a.raw(t).Collection("playbook_runs")
	_, err := runs.Indexes().CreateOne(ctx, driver.IndexModel{Keys: bson.D{{Key: "cluster", Value: 1}}, Options: options.Index().SetName("newest")})
	must(t, err)
	s, err := mongo.Open(a.config(time.Hour))
	must(t, err)
	defer s.Close()
	if err := s.Init(ctx); !errors.Is(err, store.ErrUnusable) || !strings.Contains(err.Error(), `db.playbook_runs.dropIndex("newest")`) {
		t.Errorf("init: %v", err)
	}
	specs, err := runs.Indexes().ListSpecifications(ctx)
	must(t, err)
	if len(specs) != 2 {
		t.Errorf("%d indexes", len(specs))
	}
	must(t, runs.Indexes().DropOne(ctx, "newest"))
	must(t, s.Init(ctx))
}

func TestARecordThatIsTooLargeIsRefusedWithItsSize(t *testing.T) {
	a := newDatabase(t)
	s := a.open(t)
	ctx := soon(t)
	term, err := s.BeginTerm(ctx, 0)
	must(t, err)
	create := newRun(1)
	must(t, s.Create(ctx, term.Term, create))
	commit := next(create.Run)
	commit.Nodes = create.Nodes
	commit.Nodes[0].State = "RUNNING"
	commit.Nodes[0].History = append(commit.Nodes[0].History, longHistory(17<<20))
	if err := s.Commit(ctx, term.Term, commit); err == nil || !strings.Contains(err.Error(), "node node-00000: a record cannot be stored: it takes 1") {
		t.Errorf("a node record of 17 MiB: %v", err)
	}
	large := newRun(0)
	large.Run.Playbook.Spec = map[string]any{"text": strings.Repeat("x", 9<<20)}
	must(t, s.Create(ctx, term.Term, large))
	commit = next(large.Run)
	commit.Run.Error = &record.Error{Code: "x", Message: strings.Repeat("x", 9<<20)}
	if err := s.Commit(ctx, term.Term, commit); err == nil || !strings.Contains(err.Error(), "16 MiB") {
		t.Errorf("a run of 18 MiB: %v", err)
	}
}
