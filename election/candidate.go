// Package election elects one leader among the replicas, on etcd.
//
// What it promises: the context that a leader works under ends before another replica can lead, by the leader's own
// monotonic clock, also when etcd cannot be reached; a leader that stops waits for its work before it gives the lease
// back; the next one leads as soon as etcd tells it. A process that was stopped and goes on, a clock that runs wrong, or
// a leader that lives though its port refused (see deathwatch) may still act late: that is what terms are for.
//
// The keys are those of etcd's client/v3/concurrency, so that other tools can watch the election; the code is not.
// There, Campaign may return without its key, may wait on after its lease is gone, and Session.Done comes late. Here
// every watch is only a hint to look, and what counts is read linearizably from etcd.
package election

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/etcd"
)

// Leader is who leads, as it says in its election key. Term is 0 until the leader has announced it.
type Leader struct {
	Name      string `json:"name"`
	Advertise string `json:"advertise"` // URL of its API
	Instance  string `json:"instance"`  // differs between two lives of one replica
	Term      int64  `json:"term"`
}

// Config says who stands for election, and where.
type Config struct {
	Client    *clientv3.Client
	Prefix    string // of the installation; the election lives under it
	Name      string
	Advertise string
	Instance  string
	TTL       time.Duration // of the lease, in whole seconds
	Log       hclog.Logger
}

// Candidate stands for election again and again.
type Candidate struct {
	client *clientv3.Client
	prefix string
	self   Leader
	ttl    time.Duration
	log    hclog.Logger
	queue  *queue
	deaths *deathwatch
}

// New returns a Candidate that does not stand yet.
func New(c Config) *Candidate {
	log := c.Log.Named("election")
	return &Candidate{
		client: c.Client,
		prefix: strings.TrimSuffix(c.Prefix, "/") + "/election/controller/",
		self:   Leader{Name: c.Name, Advertise: c.Advertise, Instance: c.Instance},
		ttl:    c.TTL,
		log:    log,
		queue:  newQueue(),
		deaths: &deathwatch{client: c.Client, log: log, name: c.Name, instance: c.Instance},
	}
}

// Leader returns who leads as far as this replica knows: what it last heard from etcd, which may be old while etcd
// cannot be reached. False while nobody leads, or Run does not run.
func (c *Candidate) Leader() (Leader, bool) { return c.queue.leader() }

// Others returns who else stands or leads, as last heard from etcd.
func (c *Candidate) Others() []Leader { return c.queue.others(c.self.Instance) }

// Changed returns a channel that is closed at the next change; Leader may then answer differently.
func (c *Candidate) Changed() <-chan struct{} { return c.queue.changed() }

// Run stands for election until ctx ends, and calls lead each time it is won. The context of lead ends when this
// replica must not lead any more, with the reason as its cause. lead must return when it does; only then the
// leadership is given back. Why it ended is lead's to log. When lead returns by itself the leadership is given back too, and after a pause, which
// grows while that happens quickly, Run stands again. Run returns nil, after having withdrawn.
func (c *Candidate) Run(ctx context.Context, lead func(ctx context.Context, l *Leadership) error) error {
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		follower := etcd.Follower{Client: c.client, Key: c.prefix, Prefix: true, Log: c.log}
		_ = follower.Run(following, c.queue.apply) // apply does not fail
	}()
	defer func() {
		stop()
		<-done
	}()

	outage := &etcd.Outage{Log: c.log, Down: "cannot stand for election", Up: "stands for election again"}
	retry := etcd.NewRetry()
	for ctx.Err() == nil {
		stood, err := c.campaign(ctx, outage, lead)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			outage.Began(err)
		}
		if stood > c.ttl {
			retry.Reset()
		}
		retry.Wait(ctx)
	}
	return nil
}

// campaign stands once: it enters the queue, waits to be its first, and leads. It returns for how long it stood, and
// why it could not, or not until it led.
func (c *Candidate) campaign(ctx context.Context, outage *etcd.Outage,
	lead func(ctx context.Context, l *Leadership) error) (stood time.Duration, err error) {
	err = etcd.Hold(ctx, c.client, c.ttl, func(ctx context.Context, id clientv3.LeaseID) error {
		s, err := c.enter(ctx, id)
		if err != nil {
			return err
		}
		outage.Ended()
		entered := time.Now()
		defer func() { stood = time.Since(entered) }()
		if err := c.await(ctx, s); err != nil {
			return err
		}
		c.lead(ctx, s, lead)
		return nil
	})
	return stood, err
}

// await returns nil once the stand is the first of the queue. Until then it watches for the death of those ahead.
func (c *Candidate) await(ctx context.Context, s *stand) error {
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.deaths.watch(watching, s)
	}()
	err := s.await(ctx)
	stop()
	<-watched
	return err
}

// lead calls the work under a context that also ends when the election key is lost.
func (c *Candidate) lead(ctx context.Context, s *stand, lead func(ctx context.Context, l *Leadership) error) {
	c.log.Debug("elected", "key", s.key)
	ctx, depose := context.WithCancelCause(ctx)
	guarded := make(chan struct{})
	go func() {
		defer close(guarded)
		s.guard(ctx, depose)
	}()
	_ = lead(ctx, &Leadership{stand: s, self: c.self, ended: func() error { return context.Cause(ctx) }}) // it says so itself
	depose(nil)
	<-guarded
}

// enter puts the key of this candidate behind those that are there. After an error the key may exist; it ends with
// its lease.
func (c *Candidate) enter(ctx context.Context, id clientv3.LeaseID) (*stand, error) {
	value, err := json.Marshal(c.self)
	if err != nil {
		return nil, fmt.Errorf("encode election key: %w", err)
	}
	s := &stand{
		client: c.client, queue: c.queue, prefix: c.prefix, lease: id,
		key: fmt.Sprintf("%s%x", c.prefix, int64(id)), pace: max(c.ttl/3, 300*time.Millisecond),
	}
	ctx, cancel := context.WithTimeout(ctx, c.ttl)
	defer cancel()
	answer, err := c.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(s.key), "=", 0)).
		Then(clientv3.OpPut(s.key, string(value), clientv3.WithLease(id))).
		Commit()
	if err != nil {
		return nil, fmt.Errorf("put election key %s: %w", s.key, err)
	}
	if !answer.Succeeded {
		return nil, fmt.Errorf("put election key %s: it exists already", s.key)
	}
	s.created = answer.Header.Revision
	return s, nil
}
