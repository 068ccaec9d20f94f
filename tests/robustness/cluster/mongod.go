package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// startTimeout bounds the start of a server on a busy machine.
const startTimeout = 90 * time.Second

// FindMongod returns the server's program: $MONGOD, or mongod on PATH, or what tools/mongod has installed; "" if there is
// none.
func FindMongod() string {
	if path := os.Getenv("MONGOD"); path != "" {
		return path
	}
	if path, err := exec.LookPath("mongod"); err == nil {
		return path
	}
	script := filepath.Join(sourceTree(), "tools", "mongod")
	if exec.Command(script, "--installed").Run() != nil {
		return ""
	}
	return script
}

// sourceTree is the directory of go.mod, "" where the tests run without it.
func sourceTree() string {
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

// Mongod is one MongoDB server, which can be started again after it has ended.
type Mongod struct {
	Addr string // host:port

	program string
	dir     string
	args    []string
	*Process
}

// StartMongod starts a server with args, a directory below dir and a free port. Without --replSet it is a standalone.
func StartMongod(program, dir string, args ...string) (*Mongod, error) {
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

// Start starts the server and waits until it answers.
func (m *Mongod) Start() error {
	process, err := StartProcess(filepath.Join(m.dir, "log"), nil, m.program, m.args...)
	if err != nil {
		return err
	}
	m.Process = process
	err = m.withClient(func(ctx context.Context, client *mongo.Client) error {
		return until(ctx, process, func() error { return client.Ping(ctx, nil) })
	})
	if err != nil {
		process.Kill()
		return fmt.Errorf("mongod at %s: %w\n%s", m.Addr, err, process.LogTail())
	}
	return nil
}

// withClient calls do with a client that is connected to this server only.
func (m *Mongod) withClient(do func(context.Context, *mongo.Client) error) error {
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
