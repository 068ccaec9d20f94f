package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// startTimeout is how long a server may take until it answers, on a machine with much else to do.
const startTimeout = 90 * time.Second

// mongod finds the server: $MONGOD, else mongod on PATH, else what tools/mongod has installed.
func mongod(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("MONGOD"); path != "" {
		return path
	}
	if path, err := exec.LookPath("mongod"); err == nil {
		return path
	}
	script := filepath.Join(root(), "tools", "mongod")
	if exec.Command(script, "--installed").Run() != nil {
		absent(t, "mongo", "there is no mongod: not in $MONGOD, not on PATH, not installed by tools/mongod")
	}
	return script
}

// Mongod is one running server.
type Mongod struct {
	Addr string // host:port

	program string
	dir     string
	args    []string
	process *process
}

// NewMongod starts a server with these arguments besides its place and port; it ends with the test. Without --replSet it
// is a standalone.
func NewMongod(t testing.TB, args ...string) *Mongod {
	t.Helper()
	m, err := newMongod(mongod(t), t.TempDir(), args...)
	if err != nil {
		t.Fatalf("start mongod: %v", err)
	}
	t.Cleanup(func() { m.process.kill() })
	return m
}

func newMongod(program, dir string, args ...string) (*Mongod, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	m := &Mongod{Addr: "127.0.0.1:" + strconv.Itoa(port), program: program, dir: dir}
	m.args = append([]string{
		"--dbpath", filepath.Join(dir, "db"), "--port", strconv.Itoa(port), "--bind_ip", "127.0.0.1",
		"--setParameter", "ttlMonitorSleepSecs=1", "--wiredTigerCacheSizeGB", "0.25",
	}, args...)
	if err := os.MkdirAll(filepath.Join(dir, "db"), 0o700); err != nil {
		return nil, err
	}
	return m, m.start()
}

// start runs the server and waits until it answers.
func (m *Mongod) start() error {
	process, err := start(filepath.Join(m.dir, "log"), m.program, m.args...)
	if err != nil {
		return err
	}
	m.process = process
	err = m.direct(func(ctx context.Context, client *mongo.Client) error {
		return until(ctx, process, func() error { return client.Ping(ctx, nil) })
	})
	if err != nil {
		process.kill()
		return fmt.Errorf("%w\n%s", err, process.tail())
	}
	return nil
}

// direct calls do with a client of this very server.
func (m *Mongod) direct(do func(context.Context, *mongo.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + m.Addr + "/?directConnection=true").
		SetServerSelectionTimeout(time.Second))
	if err != nil {
		return err
	}
	defer func() { _ = client.Disconnect(ctx) }()
	return do(ctx, client)
}

// until repeats try until it succeeds; a process that ends ends it.
func until(ctx context.Context, process *process, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-process.ended():
			return errors.New("mongod ended")
		case <-ctx.Done():
			return fmt.Errorf("mongod: %w: %w", ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Set is a running replica set.
type Set struct {
	URL     string
	members []*Mongod
}

// MongoSet starts a replica set of n members, each with these arguments besides; it ends with the test. It elects
// another primary about 2 s after one is gone.
func MongoSet(t testing.TB, n int, args ...string) *Set {
	t.Helper()
	set, err := newSet(mongod(t), t.TempDir(), n, args...)
	if set != nil {
		t.Cleanup(set.end)
	}
	if err != nil {
		t.Fatalf("start a replica set of %d: %v", n, err)
	}
	return set
}

func newSet(program, dir string, n int, args ...string) (*Set, error) {
	set := &Set{members: make([]*Mongod, n)}
	errs := make([]error, n)
	var starting sync.WaitGroup
	for i := range n {
		starting.Go(func() {
			set.members[i], errs[i] = newMongod(program, filepath.Join(dir, strconv.Itoa(i)), append([]string{"--replSet", "rs0"}, args...)...)
		})
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return set, err
	}
	var members bson.A
	var addrs []string
	for i, m := range set.members {
		members = append(members, bson.D{{Key: "_id", Value: i}, {Key: "host", Value: m.Addr}})
		addrs = append(addrs, m.Addr)
	}
	set.URL = "mongodb://" + strings.Join(addrs, ",") + "/?replicaSet=rs0"
	err := set.members[0].direct(func(ctx context.Context, client *mongo.Client) error {
		return client.Database("admin").RunCommand(ctx, bson.D{{Key: "replSetInitiate", Value: bson.D{
			{Key: "_id", Value: "rs0"}, {Key: "members", Value: members},
			{Key: "settings", Value: bson.D{{Key: "electionTimeoutMillis", Value: 2000}, {Key: "heartbeatIntervalMillis", Value: 500}}},
		}}}).Err()
	})
	if err != nil {
		return set, fmt.Errorf("initiate: %w", err)
	}
	if _, err := set.primary(); err != nil {
		return set, err
	}
	return set, nil
}

// primary waits until the set has a primary.
func (s *Set) primary() (int, error) {
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		for i, m := range s.members {
			select {
			case <-m.process.ended():
				continue
			default:
			}
			var hello struct {
				Primary bool `bson:"isWritablePrimary"`
			}
			err := m.direct(func(ctx context.Context, client *mongo.Client) error {
				return client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
			})
			if err == nil && hello.Primary {
				return i, nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 0, errors.New("the set has no primary")
}

// Primary is the index of the member that is primary; it waits until there is one.
func (s *Set) Primary(t testing.TB) int {
	t.Helper()
	i, err := s.primary()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// Kill ends a member as kill -9 does.
func (s *Set) Kill(i int) { s.members[i].process.kill() }

// Start starts a member that was killed, and waits until it answers.
func (s *Set) Start(t testing.TB, i int) {
	t.Helper()
	if err := s.members[i].start(); err != nil {
		t.Fatalf("start member %d: %v", i, err)
	}
}

// Replicate stops a secondary's copying of what the primary writes, or lets it go on. The set must have been started
// with --setParameter enableTestCommands=1.
func (s *Set) Replicate(t testing.TB, i int, on bool) {
	t.Helper()
	mode := "alwaysOn"
	if on {
		mode = "off"
	}
	err := s.members[i].direct(func(ctx context.Context, client *mongo.Client) error {
		return client.Database("admin").RunCommand(ctx, bson.D{{Key: "configureFailPoint", Value: "stopReplProducer"}, {Key: "mode", Value: mode}}).Err()
	})
	if err != nil {
		t.Errorf("member %d: %v", i, err)
	}
}

func (s *Set) end() {
	for _, m := range s.members {
		if m != nil && m.process != nil {
			m.process.kill()
		}
	}
}

var one struct {
	sync.Once
	set *Set
	err error
}

// Mongo is the URL of a replica set of one that all tests of a package share: use a database of your own. The package's
// TestMain must call Main.
func Mongo(t testing.TB) string {
	t.Helper()
	if !shared.used {
		t.Fatal("testenv.Mongo needs a TestMain that calls testenv.Main")
	}
	program := mongod(t)
	one.Do(func() {
		dir, err := os.MkdirTemp("", "mongo-test-")
		if err != nil {
			one.err = err
			return
		}
		one.set, one.err = newSet(program, dir, 1)
		shared.ends = append(shared.ends, func() {
			if one.set != nil {
				one.set.end()
			}
			_ = os.RemoveAll(dir)
		})
	})
	if one.err != nil {
		t.Fatalf("start the shared replica set: %v", one.err)
	}
	return one.set.URL
}
