package agent

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
)

// freshFor is how old facts may be that are given as fresh, unless an action began or ended since.
const freshFor = 250 * time.Millisecond

const defaultProbeInterval = 5 * time.Second

// observer asks the probe, once at a time for all who want to know.
type observer struct {
	agent *Agent
	mu    sync.Mutex
	// last is of a probe that was begun at lastBegun; older facts than from expired are of no use.
	last      Info
	lastBegun time.Time
	expired   time.Time
	flight    *observation
	told      *Info
	asks      sync.WaitGroup
}

type observation struct {
	begun  time.Time
	done   chan struct{}
	cancel context.CancelFunc
}

func (o *observer) init(a *Agent) { o.agent = a }

// expire makes facts of before now useless: an action begins or ends.
func (o *observer) expire() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expired = time.Now()
}

// fresh returns facts that are at most freshFor older than the call and as new as the last action's end.
func (o *observer) fresh(ctx context.Context) (Info, error) {
	if o.agent.cfg.Probe == nil {
		return Info{Status: wire.StatusHealthy}.normal(o.agent.cfg.Attributes), nil
	}
	oldest := time.Now().Add(-freshFor)
	for {
		o.mu.Lock()
		if o.expired.After(oldest) {
			oldest = o.expired
		}
		if !o.lastBegun.Before(oldest) && !o.lastBegun.IsZero() {
			info := o.last
			o.mu.Unlock()
			return info, nil
		}
		if o.flight == nil && !o.ask() {
			o.mu.Unlock()
			return Info{}, errNotReady
		}
		flight := o.flight
		o.mu.Unlock()
		select {
		case <-flight.done:
		case <-ctx.Done():
			return Info{}, ctx.Err()
		}
	}
}

// ask begins to ask the probe. It goes on when the one who asked first has left. Called with mu held; false once the agent
// is closed.
func (o *observer) ask() bool {
	a := o.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != stateOpen {
		return false
	}
	ctx, cancel := context.WithCancel(context.Background())
	flight := &observation{begun: time.Now(), done: make(chan struct{}), cancel: cancel}
	o.flight = flight
	o.asks.Go(func() {
		defer cancel()
		info, err := a.cfg.Probe(ctx)
		if err != nil {
			info = Info{Status: wire.StatusUnknown, Reason: err.Error()}
		}
		// What a probe says that was stopped because the agent closes is nothing to be told of.
		o.settle(flight, info.normal(a.cfg.Attributes), ctx.Err() == nil)
	})
	return true
}

// settle makes an observation known. OnInfo is called before those who wait are answered, and never twice at once, as the
// next observation begins after it.
func (o *observer) settle(flight *observation, info Info, tell bool) {
	if tell && (o.told == nil || !reflect.DeepEqual(*o.told, info)) {
		if o.told == nil || o.told.Status != info.Status || o.told.Role != info.Role {
			o.agent.log.Info("node is now", "status", info.Status, "role", info.Role, "reason", info.Reason)
		}
		o.told = &info
		if o.agent.cfg.OnInfo != nil {
			o.agent.cfg.OnInfo(info)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last, o.lastBegun, o.flight = info, flight.begun, nil
	close(flight.done)
}

// every asks at an interval until ctx ends. A node without a probe is told of once.
func (o *observer) every(ctx context.Context, interval time.Duration) {
	if o.agent.cfg.Probe == nil {
		if info, err := o.fresh(ctx); err == nil && o.agent.cfg.OnInfo != nil {
			o.agent.cfg.OnInfo(info)
		}
		return
	}
	if interval <= 0 {
		interval = defaultProbeInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		_, _ = o.fresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// close ends a probe that runs and waits for it. The agent is closed: none begins any more.
func (o *observer) close() {
	o.mu.Lock()
	if o.flight != nil {
		o.flight.cancel()
	}
	o.mu.Unlock()
	o.asks.Wait()
}
