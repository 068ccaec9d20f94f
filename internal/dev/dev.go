// Package dev is a whole installation in one process, for a laptop: an embedded etcd, one replica of the control plane
// on an embedded store or one that is named, and agents of made-up nodes.
//
// With a data directory it continues after any end, a kill -9 included: runs are in the store, and what the agents have
// done is in their journals. What etcd holds is made again at every start, so that nothing of an earlier life has to
// expire first.
package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/etcd/embedded"
	"github.com/replicante-io/playbooks/internal/replica"
)

// Cluster is the cluster of the made-up nodes.
const Cluster = "demo"

const (
	prefix   = "/replicante"
	database = "replicante" // of a store in MongoDB
	leaseTTL = 5 * time.Second
	// MaxAgents is how many agents one process may have.
	MaxAgents = 500
)

// Config says what the installation consists of.
type Config struct {
	Agents  int
	Data    string // directory; "" for one that is gone at the end
	Listen  string // loopback
	Store   string // URL of a primary store; "" for an embedded one
	Etcd    string // loopback, where the embedded etcd serves: agents of other processes register there; "" for any port
	Version string
	Log     hclog.Logger
	// Ready is called once, when the control plane leads and knows all agents, with its URL.
	Ready func(url string)
}

// Run works until ctx ends (nil).
func Run(ctx context.Context, c Config) (err error) {
	if !config.Loopback(c.Listen) {
		return fmt.Errorf("listen on %s: this is for one machine alone, and has no TLS and no tokens: use an address such as 127.0.0.1:16016", c.Listen)
	}
	if c.Etcd == "" {
		c.Etcd = "127.0.0.1:0"
	} else if !config.Loopback(c.Etcd) {
		return fmt.Errorf("listen on %s with etcd: this is for one machine alone: use an address such as 127.0.0.1:2379", c.Etcd)
	}
	if c.Agents < 0 || c.Agents > MaxAgents {
		return fmt.Errorf("%d agents: at most %d", c.Agents, MaxAgents)
	}
	if c.Data == "" {
		if c.Data, err = os.MkdirTemp("", "replicore-dev-"); err != nil {
			return fmt.Errorf("make a data directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.Data)) }()
	} else if c.Data, err = filepath.Abs(c.Data); err != nil {
		return fmt.Errorf("find the data directory: %w", err)
	}
	unlock, err := lock(c.Data)
	if err != nil {
		return err
	}
	defer unlock()

	stores := &ownStore{}
	defer stores.release()
	etcd, err := embedded.Start(ctx, filepath.Join(c.Data, "etcd"), c.Etcd)
	if err != nil {
		return err
	}
	defer etcd.Close()

	// The replica ends first, with everything it needs still there.
	work, working := errgroup.WithContext(context.WithoutCancel(ctx))
	working, stop := context.WithCancel(working)
	defer stop()
	leading, end := context.WithCancel(working)
	defer context.AfterFunc(ctx, end)()
	fleet, err := newFleet(c, etcd.Endpoint)
	if err != nil {
		return err
	}
	defer fleet.Close()
	work.Go(func() error { return fleet.Run(working) })
	work.Go(func() error {
		select {
		case err := <-etcd.Err():
			return fmt.Errorf("the embedded etcd ended: %w", err)
		case <-working.Done():
			return nil
		}
	})
	work.Go(func() error {
		defer stop()
		serving := make(chan string, 1)
		work.Go(func() error { return c.await(leading, serving) })
		return replica.New(replica.Config{Core: c.core(etcd.Endpoint), Alone: stores.alone(), Version: c.Version, Log: c.Log,
			Serving: func(url string) { serving <- url }}).Run(leading)
	})
	return work.Wait()
}

// core is what the replica would have in its configuration file.
func (c Config) core(etcd string) config.Core {
	url := c.Store
	if url == "" {
		url = "sqlite://" + filepath.Join(c.Data, "core.db")
	}
	return config.Core{
		Name:       "dev",
		API:        config.API{Listen: c.Listen},
		Etcd:       config.Etcd{Endpoints: []string{etcd}, Prefix: prefix, LeaseTTL: leaseTTL},
		Store:      config.Store{URL: url, Database: database},
		Runs:       config.Runs{FinishedTTL: 14 * 24 * time.Hour},
		Membership: config.Membership{Grace: 30 * time.Second, ForgetAfter: 72 * time.Hour},
	}
}

// await calls Ready when the control plane is.
func (c Config) await(ctx context.Context, serving <-chan string) error {
	var url string
	select {
	case url = <-serving:
	case <-ctx.Done():
		return nil
	}
	if c.Ready == nil {
		return nil
	}
	plane, err := client.New(client.Config{Servers: []string{url}, Actor: "replicore dev", Version: c.Version})
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		present := 0
		if c.Agents > 0 { // else there is no such cluster
			nodes, _ := plane.Nodes(ctx, Cluster)
			for i := range nodes {
				if nodes[i].Present {
					present++
				}
			}
		}
		if _, err := plane.Leader(ctx); err == nil && present >= c.Agents {
			c.Ready(url)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// lock makes the data directory and keeps others out of it.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	unlock, err = lockFile(filepath.Join(dir, "lock"))
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("another process uses %s: end it, or give this one another data directory (%w)", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	return unlock, nil
}

// lockFile keeps a file for this process.
func lockFile(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = file.Close() }, nil
}
