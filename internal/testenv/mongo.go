package testenv

import (
	"os"
	"sync"
	"testing"

	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// Mongod is the server's program.
func Mongod(t testing.TB) string {
	t.Helper()
	program := rig.FindMongod()
	if program == "" {
		absent(t, "mongo", "there is no mongod: not in $MONGOD, not on PATH, not installed by tools/mongod")
	}
	return program
}

// NewMongod starts a server with these arguments besides its place and port; it ends with the test. Without --replSet it
// is a standalone.
func NewMongod(t testing.TB, args ...string) *rig.Mongod {
	t.Helper()
	m, err := rig.NewMongod(Mongod(t), t.TempDir(), args...)
	if err != nil {
		t.Fatalf("start mongod: %v", err)
	}
	t.Cleanup(m.Kill)
	return m
}

// Set is a running replica set.
type Set struct{ *rig.Set }

// MongoSet starts a replica set of n members, each with these arguments besides; it ends with the test.
func MongoSet(t testing.TB, n int, args ...string) Set {
	t.Helper()
	set, err := rig.NewSet(Mongod(t), t.TempDir(), n, args...)
	if set != nil {
		t.Cleanup(set.End)
	}
	if err != nil {
		t.Fatalf("start a replica set of %d: %v", n, err)
	}
	return Set{set}
}

// Primary is the index of the member that is primary; it waits until there is one.
func (s Set) Primary(t testing.TB) int {
	t.Helper()
	i, err := s.Set.Primary()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// Kill ends a member as kill -9 does.
func (s Set) Kill(i int) { s.Members[i].Kill() }

// Start starts a member that was killed, and waits until it answers.
func (s Set) Start(t testing.TB, i int) {
	t.Helper()
	if err := s.Members[i].Start(); err != nil {
		t.Fatalf("start member %d: %v", i, err)
	}
}

var one struct {
	sync.Once
	set *rig.Set
	err error
}

// Mongo is the URL of a replica set of one that all tests of a package share: use a database of your own. The package's
// TestMain must call Main.
func Mongo(t testing.TB) string {
	t.Helper()
	if !shared.used {
		t.Fatal("testenv.Mongo needs a TestMain that calls testenv.Main")
	}
	program := Mongod(t)
	one.Do(func() {
		dir, err := os.MkdirTemp("", "mongo-test-")
		if err != nil {
			one.err = err
			return
		}
		one.set, one.err = rig.NewSet(program, dir, 1)
		shared.ends = append(shared.ends, func() {
			if one.set != nil {
				one.set.End()
			}
			_ = os.RemoveAll(dir)
		})
	})
	if one.err != nil {
		t.Fatalf("start the shared replica set: %v", one.err)
	}
	return one.set.URL
}
