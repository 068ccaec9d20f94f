package membership

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd"
)

// RegistrarConfig is what a Registrar needs.
type RegistrarConfig struct {
	Client *clientv3.Client
	Prefix string        // of the installation
	TTL    time.Duration // of the lease, in whole seconds
	Node   Node
	Log    hclog.Logger
}

// Registrar keeps the key of one node alive.
type Registrar struct {
	client *clientv3.Client
	self   Node // as configured; its ids and journal are final
	key    string
	ttl    time.Duration
	log    hclog.Logger

	mu      sync.Mutex    // no other lock is taken under it
	node    Node          // the value that the key is to have
	since   time.Time     // when node was changed
	next    *Node         // what node becomes at the next change, or once quietPeriod is over; nil: it stays
	timer   *time.Timer   // ends the quiet period; nil while nothing waits for it
	updated chan struct{} // holds one token after an update
}

// quietPeriod is how long the key keeps its value where neither status nor role changes: a probe that prints another lag each time costs
// etcd no write each time.
const quietPeriod = time.Minute

// NewRegistrar returns a Registrar that does not register yet.
func NewRegistrar(c RegistrarConfig) *Registrar {
	return &Registrar{
		client:  c.Client,
		self:    c.Node,
		key:     key(c.Prefix, c.Node.ClusterID, c.Node.NodeID),
		ttl:     c.TTL,
		log:     c.Log.Named("membership").With("node", c.Node.NodeID, "cluster", c.Node.ClusterID),
		node:    c.Node,
		updated: make(chan struct{}, 1),
	}
}

// Update changes the value of the key; of several updates the last one counts. Another status or role is written as soon as it can be,
// anything else at most once in a quietPeriod. The ids and the journal stay what they were.
func (r *Registrar) Update(n Node) { r.update(n, false) }

// UpdateAtOnce is Update for a change that is rare, whatever it changes.
func (r *Registrar) UpdateAtOnce(n Node) { r.update(n, true) }

func (r *Registrar) update(n Node, atOnce bool) {
	n.NodeID, n.ClusterID, n.JournalID = r.self.NodeID, r.self.ClusterID, r.self.JournalID
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = &n
	quiet := quietPeriod - time.Since(r.since)
	switch {
	case atOnce || n.Status != r.node.Status || n.Role != r.node.Role || quiet <= 0:
		r.change()
	case r.timer == nil:
		r.timer = time.AfterFunc(quiet, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.timer = nil
			if quiet := quietPeriod - time.Since(r.since); quiet <= 0 {
				r.change()
			}
		})
	}
}

// change gives the key the value that waits for it. The caller holds mu.
func (r *Registrar) change() {
	if r.next == nil {
		return
	}
	r.node, r.next, r.since = *r.next, nil, time.Now()
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	signal(r.updated)
}

func (r *Registrar) value() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, err := json.Marshal(r.node)
	if err != nil {
		return nil, fmt.Errorf("encode node key: %w", err)
	}
	return value, nil
}

// Run keeps the key in etcd until ctx ends, then removes it and returns nil. It puts the key again whenever it is lost:
// with its lease, with etcd's data, or because somebody deleted it. An older key of the same journal, which an earlier
// process of this agent left behind, is taken over at once. A key of another journal is never overwritten, nor is one of
// the same journal that was put over ours: Run logs that and waits until the key is gone. Run returns an error only for
// a node that cannot have a key.
func (r *Registrar) Run(ctx context.Context) error {
	if err := checkID(r.self.NodeID); err != nil {
		return fmt.Errorf("register node: the node id %w", err)
	}
	if err := checkID(r.self.ClusterID); err != nil {
		return fmt.Errorf("register node: the cluster id %w", err)
	}
	if _, err := r.value(); err != nil {
		return fmt.Errorf("register node: %w", err)
	}

	changed := make(chan struct{}, 1)
	following, stop := context.WithCancel(ctx)
	var follower sync.WaitGroup
	follower.Go(func() {
		f := etcd.Follower{Client: r.client, Key: r.key, Log: r.log}
		_ = f.Run(following, func(etcd.Batch) error { // does not fail
			signal(changed)
			return nil
		})
	})
	defer follower.Wait()
	defer stop()

	g := &registration{registrar: r, changed: changed, leases: map[clientv3.LeaseID]bool{},
		outage: etcd.OutageLog{Log: r.log, Down: "cannot register the node; trying again", Up: "registers the node again"}}
	backoff := etcd.NewBackoff()
	for ctx.Err() == nil {
		began := time.Now()
		err := etcd.Hold(ctx, r.client, r.ttl, g.keep)
		if ctx.Err() != nil {
			break
		}
		g.outage.Failed(err)
		if time.Since(began) > 2*r.ttl {
			backoff.Reset()
		}
		backoff.Wait(ctx)
	}
	return nil
}

// signal puts a token into a channel that holds one, unless it holds one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// registration is what a Registrar knows of its key while it runs.
type registration struct {
	registrar *Registrar
	changed   <-chan struct{} // holds one token after a change of the key
	leases    map[clientv3.LeaseID]bool
	held      bool // the key was once put by this registration
	refused   bool // it was logged that the key belongs to another agent
	outage    etcd.OutageLog
}

// keep keeps the key on this lease until ctx ends.
func (g *registration) keep(ctx context.Context, lease clientv3.LeaseID) error {
	g.leases[lease] = true
	backoff := etcd.NewBackoff()
	for {
		again, err := g.put(ctx, lease)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err // a new lease is needed: the next renewal would fail too
		}
		if err != nil {
			g.outage.Failed(err)
		} else {
			g.outage.Succeeded()
		}
		if err != nil || again {
			if !backoff.Wait(ctx) {
				return context.Cause(ctx)
			}
			continue
		}
		backoff.Reset()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-g.changed:
		case <-g.registrar.updated:
		}
	}
}

// put reads the key once and puts it if it may and must. again means that somebody else changed it in between.
func (g *registration) put(ctx context.Context, lease clientv3.LeaseID) (again bool, err error) {
	r := g.registrar
	ctx, cancel := context.WithTimeout(ctx, max(r.ttl/2, time.Second))
	defer cancel()
	value, err := r.value()
	if err != nil {
		return false, err
	}
	answer, err := r.client.Get(ctx, r.key)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", r.key, err)
	}
	var seen int64
	if len(answer.Kvs) == 1 {
		current := answer.Kvs[0]
		seen = current.ModRevision
		on := clientv3.LeaseID(current.Lease)
		if on == lease && bytes.Equal(current.Value, value) {
			return false, nil
		}
		if !g.leases[on] && !g.mayReplace(current.Value) {
			return false, nil
		}
	}
	put, err := r.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(r.key), "=", seen)).
		Then(clientv3.OpPut(r.key, string(value), clientv3.WithLease(lease))).
		Commit()
	if err != nil {
		return false, fmt.Errorf("put %s: %w", r.key, err)
	}
	if !put.Succeeded {
		return true, nil
	}
	if !g.held || g.refused {
		r.log.Info("node registered", "key", r.key)
	}
	g.held, g.refused = true, false
	return false, nil
}

// mayReplace reports whether a key that somebody else put may be overwritten: it is of this journal, and this
// registration never had the key, so that whoever put it came before. Otherwise it logs, once, whose the key is.
func (g *registration) mayReplace(value []byte) bool {
	r := g.registrar
	var other Node
	err := json.Unmarshal(value, &other)
	same := err == nil && other.JournalID != "" && other.JournalID == r.self.JournalID
	if same && !g.held {
		return true
	}
	if g.refused {
		return false
	}
	g.refused = true
	switch {
	case err != nil:
		r.log.Error("not registered: the key of this node exists and cannot be read; delete it, or wait until it is gone",
			"key", r.key, "error", err)
	case same:
		r.log.Error("no longer registered: another agent with this agent's own journal has put its key over ours; "+
			"two agents run on one data directory or on a copy of it: stop one of them",
			"key", r.key, "agent_url", other.AgentURL)
	default:
		r.log.Error("not registered: this node is registered by an agent with another journal; "+
			"stop that agent, or give this one another node id",
			"key", r.key, "agent_url", other.AgentURL, "journal", other.JournalID)
	}
	return false
}
