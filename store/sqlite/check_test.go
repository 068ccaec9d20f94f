package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/sqlite"
)

func open(t *testing.T, address string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Config: store.Config{URL: address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func address(scheme, path string) string { return (&url.URL{Scheme: scheme, Path: path}).String() }

// setUp opens a store and sets it up.
func setUp(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s := open(t, address("sqlite", path))
	if err := s.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", address("file", path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestCheckAndInitReportWhatIsWrongWithAFileAndDoNotChangeIt(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		name    string
		prepare func(path string)
		under   string
		check   string
		init    string // what Init returns; "" if it succeeds
	}{
		{name: "a directory that is missing", under: "missing/", check: "missing does not exist: create it", init: "missing does not exist: create it"},
		{name: "a directory that is a file", under: "file/", prepare: func(path string) {
			_ = os.WriteFile(filepath.Dir(path), nil, 0o600)
		}, check: "is not a directory", init: "is not a directory"},
		{name: "no file yet", check: "does not exist yet: run `replicore store init`"},
		{name: "an empty file", prepare: func(path string) { _ = os.WriteFile(path, nil, 0o600) }, check: "is not set up: run `replicore store init`"},
		{name: "a directory", prepare: func(path string) { _ = os.Mkdir(path, 0o700) }, check: "is not a file", init: "is a directory"},
		{name: "something else", prepare: func(path string) {
			_ = os.WriteFile(path, []byte(strings.Repeat("not a database\n", 1000)), 0o600)
		}, check: "is not a SQLite database", init: "is not a SQLite database"},
		{name: "another program's database", prepare: func(path string) {
			execute(t, path, "CREATE TABLE terms (id INTEGER)")
		}, check: "the database of another program", init: "the database of another program"},
		{name: "a newer schema", prepare: func(path string) {
			_ = setUp(t, path).Close()
			execute(t, path, "UPDATE terms_data SET doc = json_set(doc, '$.schema', 9)")
		}, check: "written by a newer version (schema 9, this one knows 1)", init: "use that version"},
		{name: "a file in use", prepare: func(path string) { setUp(t, path) },
			check: fmt.Sprintf("it is in use by process %d (", os.Getpid()), init: "which must end first"},
		{name: "a file in use by another name", prepare: func(path string) {
			other := filepath.Join(filepath.Dir(path), "other.db")
			setUp(t, other)
			_ = os.Symlink(other, path)
		}, check: "it is in use by process", init: "which must end first"},
		{name: "nothing", prepare: func(path string) { _ = setUp(t, path).Close() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(dir, test.under, strings.ReplaceAll(test.name, " ", "-")+"?%.db")
			if test.prepare != nil {
				test.prepare(path)
			}
			before, _ := os.ReadFile(path)
			s := open(t, address("sqlite", path))
			wrong, err := s.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if test.check == "" && len(wrong) > 0 || test.check != "" && (len(wrong) != 1 || !strings.Contains(wrong[0], test.check)) {
				t.Errorf("check reports %q instead of %q", wrong, test.check)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("check has changed the file")
			}
			switch err := s.Init(t.Context()); {
			case test.init == "" && err != nil:
				t.Errorf("init returns %v", err)
			case test.init != "" && (!errors.Is(err, store.ErrUnusable) || !strings.Contains(err.Error(), test.init)):
				t.Errorf("init returns %v instead of %q", err, test.init)
			}
		})
	}
}

func TestAURLThatDoesNotNameAFileIsRefused(t *testing.T) {
	for address, want := range map[string]string{
		"mongodb://db/":      "its scheme is not sqlite",
		"sqlite:":            "does not name a file",
		"sqlite:///":         "does not name a file",
		"sqlite::memory:":    "does not name a file",
		"sqlite://var/x.db":  "write sqlite:///var/x.db for an absolute path, sqlite:var/x.db for a relative one",
		"sqlite:///x.db?a=b": "must not have options",
	} {
		_, err := sqlite.Open(t.Context(), sqlite.Config{Config: store.Config{URL: address}})
		if !errors.Is(err, store.ErrUnusable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", address, err, want)
		}
	}
}

func TestARelativeURLNamesAFileInTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := open(t, "sqlite:core.db").Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	about, err := os.Stat("core.db")
	if err != nil {
		t.Fatal(err)
	}
	if about.Mode().Perm() != 0o600 {
		t.Errorf("others may read the file: %v", about.Mode())
	}
}

func TestAFileThatIsNotSetUpIsNotUsed(t *testing.T) {
	s := open(t, "sqlite://"+filepath.Join(t.TempDir(), "core.db"))
	if _, err := s.BeginTerm(t.Context(), 0); !errors.Is(err, store.ErrUnusable) || !strings.Contains(err.Error(), "replicore store init") {
		t.Errorf("got %v", err)
	}
}

func TestAClosedStoreIsUnavailable(t *testing.T) {
	s := setUp(t, filepath.Join(t.TempDir(), "core.db"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BeginTerm(t.Context(), 0); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("begin a term: %v", err)
	}
	if _, err := s.OpenRuns(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("open runs: %v", err)
	}
}

func TestAFullDiskIsReportedAndNothingOfTheCommitIsStored(t *testing.T) {
	s := setUp(t, filepath.Join(t.TempDir(), "core.db"))
	term, err := s.BeginTerm(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.FillDisk(t.Context()); err != nil {
		t.Fatal(err)
	}
	create := record.Commit{ID: "c", Run: record.Run{ID: "r", Term: term.Term, Rev: 1, CreatedTS: record.Now(), Params: record.Document{"long": strings.Repeat("x", 1<<20)}}}
	err = s.Create(t.Context(), term.Term, create)
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "is full, make room on it") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Run(t.Context(), "r"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("run: %v", err)
	}
	if _, err := s.BeginTerm(t.Context(), 0); err != nil {
		t.Errorf("a write that needs no room: %v", err)
	}
}

func TestEveryCollectionHasAViewWithTheFieldsOfItsRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "core.db")
	s := setUp(t, path)
	term, err := s.BeginTerm(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ts := time.Date(2026, 1, 2, 3, 4, 5, 60e6, time.UTC)
	run := record.Run{
		ID: "r", Cluster: "c", Term: term.Term, Rev: 1, Seq: 1, State: record.RunDone, CreatedTS: ts, FinishTS: &ts,
		Playbook: record.PlaybookCopy{Name: "restart", Revision: 2, Spec: record.Document{"n": int64(1)}},
	}
	create := record.Commit{
		ID: "c1", Run: run, Idempotency: []record.IdempotencyRecord{{Key: "k", Digest: "d", RunID: "r"}},
		Nodes:  []record.RunNode{{RunID: "r", Cluster: "c", Node: "n", State: record.NodeFailed, Error: &record.Error{Code: "exit"}}},
		Events: []record.Event{{RunID: "r", Seq: 1, TS: ts, Type: record.EventRunCreated, Data: record.Document{"state": "DONE"}}},
	}
	if err := s.Create(t.Context(), term.Term, create); err != nil {
		t.Fatal(err)
	}
	if err := s.StampFinished(t.Context(), term.Term, "r"); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveNodes(t.Context(), term.Term, []record.Node{{NodeID: "n", ClusterID: "c", Status: record.StatusHealthy, Present: true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), term.Term, record.Documents{Playbooks: []record.Playbook{{Name: "restart", Version: "v", CreatedTS: ts}}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", address("file", path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for query, want := range map[string]string{
		"SELECT id, state, finish_ts, waiting IS NULL FROM playbook_runs":                         "r DONE 2026-01-02T03:04:05.06Z 1",
		"SELECT playbook ->> '$.spec.n', playbook ->> '$.name', cluster, 1 FROM playbook_runs":    "1 restart c 1",
		"SELECT run_id, node, error ->> '$.code', finish_ts FROM playbook_run_agents":             "r n exit 2026-01-02T03:04:05.06Z",
		"SELECT seq, type, data ->> '$.state', finish_ts FROM playbook_run_events":                "1 run.created DONE 2026-01-02T03:04:05.06Z",
		"SELECT name, revision, version, created_ts FROM playbooks":                               "restart 1 v 2026-01-02T03:04:05.06Z",
		"SELECT cluster_id, node_id, status, present FROM nodes":                                  "c n HEALTHY 1",
		"SELECT term, schema, length(installation) > 20, doc ->> '$.term' FROM terms":             "1 1 1 1",
		"SELECT key, run_id, digest, answer IS NULL FROM idempotency_keys":                        "k r d 1",
		"SELECT doc ->> '$.id', doc ->> '$.playbook.spec' IS NULL, params, '' FROM playbook_runs": "r 1 <nil> ",
	} {
		var a, b, c, d any
		if err := db.QueryRow(query).Scan(&a, &b, &c, &d); err != nil {
			t.Errorf("%s: %v", query, err)
		} else if got := fmt.Sprintf("%v %v %v %v", a, b, c, d); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// TestTheDocumentedWayBackFromATermThatNobodyCanFollow runs the statements of docs/operations.md.
func TestTheDocumentedWayBackFromATermThatNobodyCanFollow(t *testing.T) {
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, statements, _ := strings.Cut(string(docs), "sqlite3 /var/lib/replicante/core.db \"\n")
	statements, _, _ = strings.Cut(statements, "\"\n")
	for _, bad := range []int64{math.MinInt64, -1, 1 << 53, math.MaxInt64} {
		path := filepath.Join(t.TempDir(), "core.db")
		s := setUp(t, path)
		before, err := s.BeginTerm(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		run := record.Run{ID: "r", Cluster: "c", Term: before.Term, Rev: 1, State: record.RunRunning, CreatedTS: record.Now()}
		if err := s.Create(t.Context(), before.Term, record.Commit{ID: "c1", Run: run}); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", address("file", path))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, table := range []string{"terms_data", "playbook_runs_data"} {
			if _, err := db.Exec("UPDATE "+table+" SET doc = json_set(doc, '$.term', ?)", bad); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.BeginTerm(t.Context(), 0); !errors.Is(err, store.ErrTermOutOfRange) || !strings.Contains(err.Error(), "docs/operations.md") {
			t.Errorf("with term %d another one begins: %v", bad, err)
		}
		if _, err := db.Exec(statements); err != nil {
			t.Fatal(err)
		}
		after, err := s.BeginTerm(t.Context(), 0)
		if err != nil || after.Term != 1 || after.Installation == before.Installation || after.Installation == "" {
			t.Errorf("after term %d: %+v, %v", bad, after, err)
		}
		if _, _, err := s.Claim(t.Context(), after.Term, "r"); err != nil {
			t.Errorf("after term %d: %v", bad, err)
		}
	}
}

func TestAFileThatIsNoLongerInItsPlaceIsNotUsed(t *testing.T) {
	for what, move := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		},
	} {
		path := filepath.Join(t.TempDir(), "core.db")
		s := setUp(t, path)
		term, err := s.BeginTerm(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := move(path); err != nil {
			t.Fatal(err)
		}
		run := record.Run{ID: "r", Cluster: "c", Term: term.Term, Rev: 1, CreatedTS: record.Now()}
		_, readErr := s.OpenRuns(t.Context())
		for call, err := range map[string]error{
			"ping": s.Ping(t.Context()), "create": s.Create(t.Context(), term.Term, record.Commit{ID: "c", Run: run}), "read": readErr,
		} {
			if !errors.Is(err, store.ErrUnusable) || !strings.Contains(err.Error(), path+" was "+what) {
				t.Errorf("%s of a file that was %s: %v", call, what, err)
			}
		}
		if what == "replaced" { // and put back
			if err := os.Rename(path+".old", path); err != nil {
				t.Fatal(err)
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("after it was put back: %v", err)
			}
		}
	}
}
