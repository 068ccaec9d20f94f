package testenv

import (
	"os"
	"sync"
	"testing"

	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// Mongod returns the server's program.
func Mongod(t testing.TB) string {
	t.Helper()
	program := cluster.FindMongod()
	if program == "" {
		absent(t, "mongo", "mongod was not found: not in $MONGOD, not on PATH, not installed by tools/mongod")
	}
	return program
}

// NewMongod starts a server with args besides its directory and port, until the test ends. Without --replSet it is a
// standalone.
func NewMongod(t testing.TB, args ...string) *cluster.Mongod {
	t.Helper()
	m, err := cluster.StartMongod(Mongod(t), t.TempDir(), args...)
	if err != nil {
		t.Fatalf("start mongod: %v", err)
	}
	t.Cleanup(m.Kill)
	return m
}

// Set is a running replica set, for one test.
type Set struct{ *cluster.ReplicaSet }

// MongoSet starts a replica set of n members, each with args, until the test ends.
func MongoSet(t testing.TB, n int, args ...string) Set {
	t.Helper()
	set, err := cluster.StartReplicaSet(Mongod(t), t.TempDir(), n, args...)
	if set != nil {
		t.Cleanup(set.Stop)
	}
	if err != nil {
		t.Fatalf("start a replica set of %d: %v", n, err)
	}
	return Set{set}
}

// Primary waits until the set has a primary and returns its index.
func (s Set) Primary(t testing.TB) int {
	t.Helper()
	i, err := s.ReplicaSet.Primary()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// Kill kills a member with SIGKILL.
func (s Set) Kill(i int) { s.Members[i].Kill() }

// Start starts a member that was killed and waits until it answers.
func (s Set) Start(t testing.TB, i int) {
	t.Helper()
	if err := s.Members[i].Start(); err != nil {
		t.Fatalf("start member %d: %v", i, err)
	}
}

var sharedSet struct {
	sync.Once
	set *cluster.ReplicaSet
	err error
}

// Mongo returns the URL of a replica set of one that all tests of a package share: use a database of your own. The
// package's TestMain must call Main.
func Mongo(t testing.TB) string {
	t.Helper()
	if !shared.used {
		t.Fatal("testenv.Mongo needs a TestMain that calls testenv.Main")
	}
	program := Mongod(t)
	sharedSet.Do(func() {
		dir, err := os.MkdirTemp("", "mongo-test-")
		if err != nil {
			sharedSet.err = err
			return
		}
		sharedSet.set, sharedSet.err = cluster.StartReplicaSet(program, dir, 1)
		shared.stops = append(shared.stops, func() {
			if sharedSet.set != nil {
				sharedSet.set.Stop()
			}
			_ = os.RemoveAll(dir)
		})
	})
	if sharedSet.err != nil {
		t.Fatalf("start the shared replica set: %v", sharedSet.err)
	}
	return sharedSet.set.URL
}
