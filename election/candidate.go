// Package election elects one leader among the replicas, on etcd.
//
// What it promises: the context that a leader works under ends before another replica can lead, by the leader's own
// monotonic clock, also when etcd cannot be reached; a leader that stops waits for its work before it gives the lease
// back; the next one leads as soon as etcd reports it. A process that was suspended and resumes, a clock that runs
// wrong, or a leader that lives although its port refused connections (see failureDetector) may still act late: terms
// exist for that.
//
// The keys are those of etcd's client/v3/concurrency, so that other tools can watch the election; the code is not.
// There, Campaign may return without its key, may keep waiting after its lease is gone, and Session.Done fires late.
// Here every watch is only a hint to look, and what counts is read linearizably from etcd.
package election

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd"
)

// Leader is the value of an election key. Term is 0 until the leader has announced it.
type Leader struct {
	Name      string `json:"name"`
	Advertise string `json:"advertise"` // URL of its API
	Instance  string `json:"instance"`  // differs between two processes of one replica
	Term      int64  `json:"term"`
}

// Config is what a Candidate needs.
type Config struct {
	Client    *clientv3.Client
	Prefix    string // of the installation; the election's keys are below it
	Name      string
	Advertise string
	Instance  string
	TTL       time.Duration // of the lease, in whole seconds
	Log       hclog.Logger
}

// Candidate campaigns until it is stopped.
type Candidate struct {
	client   *clientv3.Client
	prefix   string
	self     Leader
	ttl      time.Duration
	log      hclog.Logger
	queue    *queue
	detector *failureDetector
}

// New returns a Candidate that does not campaign yet.
func New(c Config) *Candidate {
	log := c.Log.Named("election")
	return &Candidate{
		client:   c.Client,
		prefix:   strings.TrimSuffix(c.Prefix, "/") + "/election/controller/",
		self:     Leader{Name: c.Name, Advertise: c.Advertise, Instance: c.Instance},
		ttl:      c.TTL,
		log:      log,
		queue:    newQueue(),
		detector: &failureDetector{client: c.Client, log: log, name: c.Name, instance: c.Instance},
	}
}

// Leader returns the leader that etcd last reported, which may be outdated while etcd cannot be reached. It returns
// false while nobody leads, or Run is not running.
func (c *Candidate) Leader() (Leader, bool) { return c.queue.leader() }

// Others returns the other candidates, the leader included, as etcd last reported them.
func (c *Candidate) Others() []Leader { return c.queue.others(c.self.Instance) }

// Changed returns a channel that is closed at the next change, after which Leader may answer differently.
func (c *Candidate) Changed() <-chan struct{} { return c.queue.next() }

// Run campaigns until ctx ends, and calls lead each time it is elected. The context of lead ends when this replica must
// stop leading, with the reason as its cause. lead must return when it does; only then the leadership is given back.
// Why it ended is lead's to log. When lead returns by itself the leadership is given back too, and Run campaigns again
// after a pause, which grows while that happens quickly. Run returns nil, after it has withdrawn.
func (c *Candidate) Run(ctx context.Context, lead func(ctx context.Context, l *Leadership) error) error {
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	var follower sync.WaitGroup
	follower.Go(func() {
		f := etcd.Follower{Client: c.client, Key: c.prefix, Prefix: true, Log: c.log}
		_ = f.Run(following, c.queue.apply) // apply does not fail
	})
	defer follower.Wait()
	defer stop()

	outage := &etcd.OutageLog{Log: c.log, Down: "cannot take part in the election; trying again", Up: "takes part in the election again"}
	backoff := etcd.NewBackoff()
	for ctx.Err() == nil {
		lasted, err := c.campaign(ctx, outage, lead)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			outage.Failed(err)
		}
		if lasted > c.ttl {
			backoff.Reset()
		}
		backoff.Wait(ctx)
	}
	return nil
}

// campaign enters the queue once, waits to be its first, and leads. It returns how long its key was in the queue, and
// why it could not enter, or not until it led.
func (c *Candidate) campaign(ctx context.Context, outage *etcd.OutageLog,
	lead func(ctx context.Context, l *Leadership) error) (lasted time.Duration, err error) {
	err = etcd.Hold(ctx, c.client, c.ttl, func(ctx context.Context, lease clientv3.LeaseID) error {
		own, err := c.enter(ctx, lease)
		if err != nil {
			return err
		}
		outage.Succeeded()
		entered := time.Now()
		defer func() { lasted = time.Since(entered) }()
		if err := c.wait(ctx, own); err != nil {
			return err
		}
		c.lead(ctx, own, lead)
		return nil
	})
	return lasted, err
}

// wait returns nil once the candidacy is the first of the queue. Until then it watches the processes of those ahead.
func (c *Candidate) wait(ctx context.Context, own *candidacy) error {
	watching, stop := context.WithCancel(ctx)
	var detecting sync.WaitGroup
	detecting.Go(func() { c.detector.watch(watching, own) })
	defer detecting.Wait()
	defer stop()
	return own.waitUntilFirst(ctx)
}

// enter puts the key of this candidate behind those that exist. After an error the key may exist; it ends with its
// lease.
func (c *Candidate) enter(ctx context.Context, lease clientv3.LeaseID) (*candidacy, error) {
	value, err := json.Marshal(c.self)
	if err != nil {
		return nil, fmt.Errorf("encode election key: %w", err)
	}
	own := &candidacy{
		client: c.client, queue: c.queue, prefix: c.prefix, lease: lease,
		key: fmt.Sprintf("%s%x", c.prefix, int64(lease)), pause: max(c.ttl/3, 300*time.Millisecond),
	}
	ctx, cancel := context.WithTimeout(ctx, c.ttl)
	defer cancel()
	answer, err := c.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(own.key), "=", 0)).
		Then(clientv3.OpPut(own.key, string(value), clientv3.WithLease(lease))).
		Commit()
	if err != nil {
		return nil, fmt.Errorf("put election key %s: %w", own.key, err)
	}
	if !answer.Succeeded {
		return nil, fmt.Errorf("put election key %s: it exists already", own.key)
	}
	own.created = answer.Header.Revision
	return own, nil
}
