package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

const (
	// findTimeout bounds the search for a leader.
	findTimeout = 15 * time.Second
	// busyTimeout bounds the search for an agent that executes a command.
	busyTimeout = time.Second
	// rest is how long a gentle agent is left alone after a fault.
	rest = 10 * time.Second
	// terminateTimeout bounds how long a program may take to end after SIGTERM.
	terminateTimeout = 60 * time.Second
)

// errMissed means that a fault found nothing to break.
var errMissed = errors.New("missed")

// Config is what an Injector breaks, and how.
type Config struct {
	Installation *cluster.Installation
	LeaseTTL     time.Duration
	// Duration is the time after which no fault begins.
	Duration time.Duration
	// Busy reports whether a node executes a command.
	Busy func(node string) bool
	// Gentle reports whether an agent gets gentle faults only.
	Gentle func(node string) bool
	// SetProbe has the probe of a node take so long.
	SetProbe func(node string, takes time.Duration) error
	Foreign  []*cluster.ForeignAgent
	// StartExtraRun has one more run started soon.
	StartExtraRun func()
	Log           func(format string, args ...any)
}

// Result is what an Injector has done and seen.
type Result struct {
	Injected map[string]int // by kind
	Missed   int            // faults that found nothing to break, or came too late
	Wrong    []string       // what programs did that they must not do
}

// Injector injects faults into an installation.
type Injector struct {
	Config
	begin time.Time

	mu     sync.Mutex
	result Result
	// taken are agents that a track works on, with until when they rest afterwards: an agent that is stopped again and again is as good as
	// one that stays away.
	taken map[*cluster.Member]time.Time
}

// NewInjector makes an Injector that does nothing yet.
func NewInjector(config Config) *Injector {
	return &Injector{Config: config, result: Result{Injected: map[string]int{}}, taken: map[*cluster.Member]time.Time{}}
}

// Run injects a schedule of faults from now on, each track in its own goroutine, until all of them have ended or ctx does.
func (in *Injector) Run(ctx context.Context, schedule []Fault) {
	in.begin = time.Now()
	var tracks sync.WaitGroup
	byTrack := map[string][]Fault{}
	for _, f := range schedule {
		byTrack[f.Track] = append(byTrack[f.Track], f)
	}
	for _, faults := range byTrack {
		tracks.Go(func() {
			for _, f := range faults {
				if !retry.Sleep(ctx, time.Until(in.begin.Add(f.At))) {
					return
				}
				if time.Since(in.begin) > in.Duration { // the track is behind its schedule
					in.missed()
					continue
				}
				in.inject(ctx, f)
			}
		})
	}
	tracks.Wait()
}

// Result returns what was done so far.
func (in *Injector) Result() Result {
	in.mu.Lock()
	defer in.mu.Unlock()
	return Result{Injected: maps.Clone(in.result.Injected), Missed: in.result.Missed, Wrong: slices.Clone(in.result.Wrong)}
}

func (in *Injector) missed() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.result.Missed++
}

// wrong records what a program did that it must not do.
func (in *Injector) wrong(format string, args ...any) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.result.Wrong = append(in.result.Wrong, fmt.Sprintf(format, args...))
}

// inject breaks and repairs one thing.
func (in *Injector) inject(ctx context.Context, f Fault) {
	at := time.Since(in.begin)
	name, err := in.breakTarget(ctx, f)
	if err != nil {
		in.missed()
		in.Log("%7.1fs  %s: %v", at.Seconds(), f.Kind(), err)
		return
	}
	in.mu.Lock()
	in.result.Injected[f.Kind()]++
	in.mu.Unlock()
	in.Log("%7.1fs  %s: %s for %s", at.Seconds(), f.Kind(), name, f.Lasts)
}

// breakTarget returns the name of what it has broken and repaired.
func (in *Injector) breakTarget(ctx context.Context, f Fault) (string, error) {
	switch f.Target {
	case Leader, Follower:
		return in.breakReplica(ctx, f)
	case EtcdMember, EtcdQuorum:
		etcds := in.Installation.Etcds
		n := 1
		if f.Target == EtcdQuorum {
			n = len(etcds)/2 + 1
		}
		var members []*cluster.Member
		var names string
		for i := range n {
			m := etcds[(f.Nth+i)%len(etcds)]
			members, names = append(members, m), names+" "+m.Name
		}
		return names[1:], in.breakMembers(ctx, f, members...)
	case Primary, Secondary, MongodQuorum:
		return in.breakMongod(ctx, f)
	case NextLeader:
		return in.skewNextLeader(ctx, f)
	case ForeignAgent:
		return in.makeHostile(ctx, f)
	default:
		m := in.takeAgent(ctx, f)
		defer in.returnAgent(m)
		return m.Name, in.breakMembers(ctx, f, m)
	}
}

// takeAgent returns an agent that no other track works on.
func (in *Injector) takeAgent(ctx context.Context, f Fault) *cluster.Member {
	for deadline := time.Now().Add(busyTimeout); ; {
		any := f.Target != BusyAgent || time.Now().After(deadline)
		if m := in.freeAgent(f.Nth, any, f.Target == GentleAgent); m != nil {
			return m
		}
		if !retry.Sleep(ctx, 5*time.Millisecond) {
			f.Target = Agent
		}
	}
}

// freeAgent takes the next agent, gentle or not, that no other track works on: a busy one, unless any will do. nil where there is none.
func (in *Injector) freeAgent(nth int, any, gentle bool) *cluster.Member {
	in.mu.Lock()
	defer in.mu.Unlock()
	agents := in.Installation.Agents
	for i := range agents {
		at := (nth + i) % len(agents)
		m := agents[at]
		node := in.Installation.Nodes[at]
		if time.Now().After(in.taken[m]) && in.Gentle(node) == gentle && (any || in.Busy(node)) {
			in.taken[m] = time.Now().Add(24 * time.Hour)
			return m
		}
	}
	return nil
}

func (in *Injector) returnAgent(m *cluster.Member) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.taken[m] = time.Time{}
	if in.Gentle(in.node(m)) {
		in.taken[m] = time.Now().Add(rest)
	}
}

// breakMembers breaks and repairs some members at once.
func (in *Injector) breakMembers(ctx context.Context, f Fault, members ...*cluster.Member) error {
	var all sync.WaitGroup
	errs := make([]error, len(members))
	for i, m := range members {
		all.Go(func() { errs[i] = in.breakMember(ctx, f, m) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (in *Injector) breakMember(ctx context.Context, f Fault, m *cluster.Member) error {
	if !m.Running() {
		in.endedItself(m)
		return m.Launch()
	}
	switch f.Action {
	case Kill:
		m.Kill()
	case Terminate:
		if err := m.Terminate(terminateTimeout); err != nil {
			in.wrong("%s: %v", m.Name, err)
		}
	case Freeze:
		m.Freeze()
		defer m.Thaw()
		retry.Sleep(ctx, f.Lasts)
		return nil
	case SlowProbe:
		return in.slowProbe(ctx, f, in.node(m))
	case StepClock:
		return stepClock(ctx, f, m)
	case Disconnect:
		if err := m.Disconnect(ctx, f.Peer); err != nil {
			return fmt.Errorf("%w: %w", errMissed, err)
		}
		retry.Sleep(ctx, f.Lasts)
		return m.Reconnect(context.WithoutCancel(ctx), f.Peer)
	}
	retry.Sleep(ctx, f.Lasts)
	return m.Launch()
}

// endedItself records a program that ended although nothing was done to it.
func (in *Injector) endedItself(m *cluster.Member) {
	in.wrong("%s ended by itself:\n%s", m.Name, m.LogTail())
}

func (in *Injector) breakReplica(ctx context.Context, f Fault) (string, error) {
	findCtx, cancel := context.WithTimeout(ctx, findTimeout)
	leader, err := in.Installation.Leader(findCtx)
	cancel()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errMissed, err)
	}
	var followers []*cluster.Member
	for _, m := range in.Installation.Replicas {
		if m != leader {
			followers = append(followers, m)
		}
	}
	switch {
	case f.Target == Follower:
		m := followers[f.Nth%len(followers)]
		return m.Name, in.breakMember(ctx, f, m)
	case !f.atPoint():
		return leader.Name, in.breakMember(ctx, f, leader)
	case passedByWinner(f.Point): // the point is passed by the next leader, whichever replica that is
		return in.breakAtPoint(ctx, f, followers...)
	}
	return in.breakAtPoint(ctx, f, leader)
}

// Repair starts everything that has ended, and waits until everything serves.
func (in *Injector) Repair(ctx context.Context) error {
	groups := [][]*cluster.Member{in.Installation.Etcds, in.Installation.Replicas, in.Installation.Agents}
	for _, members := range groups {
		for _, m := range members {
			if !m.Running() {
				in.endedItself(m)
				if err := m.Launch(); err != nil {
					return err
				}
			}
		}
	}
	for _, members := range groups {
		for _, m := range members {
			if err := m.WaitServing(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}
