package rig

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
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// startTimeout is how long a server may take until it answers, on a machine with much else to do.
const startTimeout = 90 * time.Second

// FindMongod is the server's program: $MONGOD, else mongod on PATH, else what tools/mongod has installed; "" if there is
// none.
func FindMongod() string {
	if path := os.Getenv("MONGOD"); path != "" {
		return path
	}
	if path, err := exec.LookPath("mongod"); err == nil {
		return path
	}
	script := filepath.Join(root(), "tools", "mongod")
	if exec.Command(script, "--installed").Run() != nil {
		return ""
	}
	return script
}

// root is the top of the source tree, "" where the tests run without it.
func root() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// Mongod is one running server.
type Mongod struct {
	Addr string // host:port

	program string
	dir     string
	args    []string
	*Process
}

// NewMongod starts a server with these arguments besides its place and port. Without --replSet it is a standalone.
func NewMongod(program, dir string, args ...string) (*Mongod, error) {
	port, err := FreePort()
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
	return m, m.Start()
}

// Start runs the server, again, and waits until it answers.
func (m *Mongod) Start() error {
	process, err := Start(filepath.Join(m.dir, "log"), nil, m.program, m.args...)
	if err != nil {
		return err
	}
	m.Process = process
	err = m.direct(func(ctx context.Context, client *mongo.Client) error {
		return until(ctx, process, func() error { return client.Ping(ctx, nil) })
	})
	if err != nil {
		process.Kill()
		return fmt.Errorf("mongod at %s: %w\n%s", m.Addr, err, process.Tail())
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
func until(ctx context.Context, process *Process, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-process.Ended():
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Set is a running replica set. It elects another primary about 2 s after one is gone.
type Set struct {
	URL     string
	Members []*Mongod
}

// NewSet starts a replica set of n members below dir, each with these arguments besides. After an error, what runs is to
// be ended too.
func NewSet(program, dir string, n int, args ...string) (*Set, error) {
	set := &Set{Members: make([]*Mongod, n)}
	errs := make([]error, n)
	var starting sync.WaitGroup
	for i := range n {
		starting.Go(func() {
			set.Members[i], errs[i] = NewMongod(program, filepath.Join(dir, strconv.Itoa(i)), append([]string{"--replSet", "rs0"}, args...)...)
		})
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return set, err
	}
	var members bson.A
	var addrs []string
	for i, m := range set.Members {
		members = append(members, bson.D{{Key: "_id", Value: i}, {Key: "host", Value: m.Addr}})
		addrs = append(addrs, m.Addr)
	}
	set.URL = "mongodb://" + strings.Join(addrs, ",") + "/?replicaSet=rs0"
	err := set.Members[0].direct(func(ctx context.Context, client *mongo.Client) error {
		return client.Database("admin").RunCommand(ctx, bson.D{{Key: "replSetInitiate", Value: bson.D{
			{Key: "_id", Value: "rs0"}, {Key: "members", Value: members},
			{Key: "settings", Value: bson.D{{Key: "electionTimeoutMillis", Value: 2000}, {Key: "heartbeatIntervalMillis", Value: 500}}},
		}}}).Err()
	})
	if err != nil {
		return set, fmt.Errorf("initiate: %w", err)
	}
	if _, err := set.Primary(); err != nil {
		return set, err
	}
	return set, nil
}

// Primary waits until the set has a primary, and is its index.
func (s *Set) Primary() (int, error) {
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		for i, m := range s.Members {
			select {
			case <-m.Ended():
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

// Replicate stops a secondary's copying of what the primary writes, or lets it go on. The set must have been started
// with --setParameter enableTestCommands=1.
func (s *Set) Replicate(i int, on bool) error {
	mode := "alwaysOn"
	if on {
		mode = "off"
	}
	return s.Members[i].direct(func(ctx context.Context, client *mongo.Client) error {
		return client.Database("admin").RunCommand(ctx, bson.D{{Key: "configureFailPoint", Value: "stopReplProducer"}, {Key: "mode", Value: mode}}).Err()
	})
}

// End kills all members.
func (s *Set) End() {
	for _, m := range s.Members {
		if m != nil && m.Process != nil {
			m.Kill()
		}
	}
}
