package agent

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
)

// maxFactAge is how old facts may be that are returned as fresh, unless an action started or ended since.
const maxFactAge = 250 * time.Millisecond

// lookWindow is for how long after the facts of a look were returned further questions belong to the same look.
const lookWindow = 2 * time.Second

const defaultProbeInterval = 5 * time.Second

// facts runs the probe, one at a time, for all callers that need what it prints.
type facts struct {
	agent *Agent
	// published is written by one probe after the other.
	published *Info
	probes    sync.WaitGroup

	// mu is taken before Agent.mu.
	mu sync.Mutex
	// last is of the probe that was started at lastStart. It may not be used where it is older than validFrom.
	last      Info
	lastStart time.Time
	validFrom time.Time
	running   *probeRun // nil for none
	// looked is what was returned to the last look, at lookedAt, of the probe that was started at lookedStart.
	looked      Info
	lookedAt    time.Time
	lookedStart time.Time
}

type probeRun struct {
	start  time.Time
	done   chan struct{}
	cancel context.CancelFunc
}

// invalidate makes earlier facts invalid: an action starts or has ended.
func (f *facts) invalidate() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.validFrom = time.Now()
}

// look returns fresh facts for the first question of a look. The answers to its further questions, by sameLook, are of the same
// probe, however long that took, unless an action started or ended since.
func (f *facts) look(ctx context.Context) (Info, error) {
	info, start, err := f.fresh(ctx)
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.looked, f.lookedAt, f.lookedStart = info, time.Now(), start
	}
	return info, err
}

func (f *facts) sameLook(ctx context.Context) (Info, error) {
	f.mu.Lock()
	looked, same := f.looked, time.Since(f.lookedAt) < lookWindow && !f.lookedStart.Before(f.validFrom)
	f.mu.Unlock()
	if same {
		return looked, nil
	}
	return f.look(ctx)
}

// fresh returns facts that are at most maxFactAge older than the call, and not older than the start or end of an action.
func (f *facts) fresh(ctx context.Context) (Info, time.Time, error) {
	if f.agent.cfg.Probe == nil {
		return Info{Status: wire.StatusHealthy}.normal(f.agent.cfg.Attributes), time.Now(), nil
	}
	oldest := time.Now().Add(-maxFactAge)
	for {
		f.mu.Lock()
		if f.validFrom.After(oldest) {
			oldest = f.validFrom
		}
		if !f.lastStart.Before(oldest) && !f.lastStart.IsZero() {
			info, start := f.last, f.lastStart
			f.mu.Unlock()
			return info, start, nil
		}
		if f.running == nil && !f.startProbe() {
			f.mu.Unlock()
			return Info{}, time.Time{}, errNotReady
		}
		running := f.running
		f.mu.Unlock()
		select {
		case <-running.done:
		case <-ctx.Done():
			return Info{}, time.Time{}, ctx.Err()
		}
	}
}

// startProbe starts a probe, which continues when its caller has gone: others may wait for it. It returns false where the
// agent is closed. The caller holds mu.
func (f *facts) startProbe() bool {
	a := f.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != stateOpen {
		return false
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &probeRun{start: time.Now(), done: make(chan struct{}), cancel: cancel}
	f.running = run
	f.probes.Go(func() {
		defer cancel()
		info, err := a.cfg.Probe(ctx)
		if err != nil {
			info = Info{Status: wire.StatusUnknown, Reason: err.Error()}
		}
		info = info.normal(a.cfg.Attributes)
		if ctx.Err() == nil { // else it was stopped, and what it printed means nothing
			f.publish(info)
		}
		f.finish(run, info)
	})
	return true
}

// publish calls OnInfo where something has changed. The next probe starts after it, so that calls follow each other.
func (f *facts) publish(info Info) {
	if f.published != nil && reflect.DeepEqual(*f.published, info) {
		return
	}
	if f.published == nil || f.published.Status != info.Status || f.published.Role != info.Role {
		f.agent.log.Info("node status changed", "status", info.Status, "role", info.Role, "reason", info.Reason)
	}
	f.published = &info
	if f.agent.cfg.OnInfo != nil {
		f.agent.cfg.OnInfo(info)
	}
}

// finish hands the facts to the callers that wait for them.
func (f *facts) finish(run *probeRun, info Info) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last, f.lastStart, f.running = info, run.start, nil
	close(run.done)
}

// refresh runs the probe at an interval until ctx ends. The facts of a node without a probe are published once.
func (f *facts) refresh(ctx context.Context, interval time.Duration) {
	if f.agent.cfg.Probe == nil {
		if info, _, err := f.fresh(ctx); err == nil && f.agent.cfg.OnInfo != nil {
			f.agent.cfg.OnInfo(info)
		}
		return
	}
	if interval <= 0 {
		interval = defaultProbeInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		_, _, _ = f.fresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// close stops a running probe and waits for it. The agent is closed already, so that no other one starts.
func (f *facts) close() {
	f.mu.Lock()
	if f.running != nil {
		f.running.cancel()
	}
	f.mu.Unlock()
	f.probes.Wait()
}
