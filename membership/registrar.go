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

// RegistrarConfig says which node to register, and where.
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

	mu      sync.Mutex
	node    Node          // what the key is to say
	updated chan struct{} // holds one token after an update
}

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

// Update changes what the key says, as soon as it can be written; of several updates the last one counts. The ids and
// the journal stay what they were.
func (r *Registrar) Update(n Node) {
	n.NodeID, n.ClusterID, n.JournalID = r.self.NodeID, r.self.ClusterID, r.self.JournalID
	r.mu.Lock()
	r.node = n
	r.mu.Unlock()
	select {
	case r.updated <- struct{}{}:
	default:
	}
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

// Run keeps the key there until ctx ends, then removes it and returns nil. It puts it again whenever it is lost: with
// its lease, with etcd's data, by somebody's hand. An older key of the same journal, which an earlier life of this
// agent left behind, is taken over at once. A key of another journal is never overwritten, nor is one of the same
// journal that was put over ours: Run says so and waits until it is gone. Run returns an error only for a node that
// cannot have a key.
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

	looks := make(chan struct{}, 1)
	following, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		follower := etcd.Follower{Client: r.client, Key: r.key, Log: r.log}
		_ = follower.Run(following, func(etcd.Batch) error { // does not fail
			select {
			case looks <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	defer func() {
		stop()
		<-done
	}()

	h := &hold{registrar: r, looks: looks, leases: map[clientv3.LeaseID]bool{},
		outage: etcd.Outage{Log: r.log, Down: "cannot register the node", Up: "registers the node again"}}
	retry := etcd.NewRetry()
	for ctx.Err() == nil {
		began := time.Now()
		err := etcd.Hold(ctx, r.client, r.ttl, h.keep)
		if ctx.Err() != nil {
			break
		}
		h.outage.Began(err)
		if time.Since(began) > 2*r.ttl {
			retry.Reset()
		}
		retry.Wait(ctx)
	}
	return nil
}

// hold is what a Registrar knows of its key while it runs.
type hold struct {
	registrar *Registrar
	looks     <-chan struct{} // something happened to the key
	leases    map[clientv3.LeaseID]bool
	held      bool // the key was once put by this hold
	refused   bool // it was said that the key is another's
	outage    etcd.Outage
}

// keep keeps the key on this lease until ctx ends.
func (h *hold) keep(ctx context.Context, lease clientv3.LeaseID) error {
	h.leases[lease] = true
	retry := etcd.NewRetry()
	for {
		again, err := h.settle(ctx, lease)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err // the lease is not worth waiting for: its next renewal would say the same
		}
		if err != nil {
			h.outage.Began(err)
		} else {
			h.outage.Ended()
		}
		if err != nil || again {
			if !retry.Wait(ctx) {
				return context.Cause(ctx)
			}
			continue
		}
		retry.Reset()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-h.looks:
		case <-h.registrar.updated:
		}
	}
}

// settle looks at the key once and puts it if it may and must. again means that somebody else changed it in between.
func (h *hold) settle(ctx context.Context, lease clientv3.LeaseID) (again bool, err error) {
	r := h.registrar
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
		there := answer.Kvs[0]
		seen = there.ModRevision
		on := clientv3.LeaseID(there.Lease)
		if on == lease && bytes.Equal(there.Value, value) {
			return false, nil
		}
		if !h.leases[on] && !h.mayReplace(there.Value) {
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
	if !h.held || h.refused {
		r.log.Info("node registered", "key", r.key)
	}
	h.held, h.refused = true, false
	return false, nil
}

// mayReplace tells whether a key that was put by somebody else may be overwritten: it is of this journal, and this
// hold never had the key, so that whoever put it came before. Otherwise it says, once, whose the key is.
func (h *hold) mayReplace(value []byte) bool {
	r := h.registrar
	var there Node
	err := json.Unmarshal(value, &there)
	same := err == nil && there.JournalID != "" && there.JournalID == r.self.JournalID
	if same && !h.held {
		return true
	}
	if h.refused {
		return false
	}
	h.refused = true
	switch {
	case err != nil:
		r.log.Error("not registered: the key of this node is there and cannot be read; remove it or wait until it is gone",
			"key", r.key, "error", err)
	case same:
		r.log.Error("not registered any more: another agent with this agent's own journal has put its key over ours; "+
			"two agents run on one data directory or a copy of it: stop one",
			"key", r.key, "agent_url", there.AgentURL)
	default:
		r.log.Error("not registered: this node is registered by an agent with another journal; "+
			"stop that agent, or give this one another node id",
			"key", r.key, "agent_url", there.AgentURL, "journal", there.JournalID)
	}
	return false
}
