package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/internal/failpoint"
	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
)

const (
	// trapPatience is how long a trap waits for its point to be passed.
	trapPatience = 8 * time.Second
	// findPatience is how long a leader or a primary is looked for.
	findPatience = 15 * time.Second
	// busyPatience is how long a busy agent is looked for.
	busyPatience = time.Second
	// endPatience is how long a program may take to end when it is asked to.
	endPatience = 60 * time.Second
)

// errMissed means that a fault found nothing to break.
var errMissed = errors.New("missed")

// breaker carries a schedule of faults out.
type breaker struct {
	rig   *rig.Rig
	begun time.Time
	ttl   time.Duration
	// duration is when no fault begins any more.
	duration time.Duration
	say      func(string, ...any)
	// more has operators ask for one more run.
	more func()

	mu     sync.Mutex
	done   map[string]int // faults, by kind
	missed int
	wrong  []string             // what programs did that they must not
	taken  map[*rig.Member]bool // agents that a lane is at
}

func (b *breaker) Run(ctx context.Context, schedule []Fault) {
	var lanes sync.WaitGroup
	byLane := map[string][]Fault{}
	for _, f := range schedule {
		byLane[f.Lane] = append(byLane[f.Lane], f)
	}
	for _, faults := range byLane {
		lanes.Go(func() {
			for _, f := range faults {
				if !rest(ctx, time.Until(b.begun.Add(f.At))) {
					return
				}
				if time.Since(b.begun) > b.duration { // the lane is behind
					b.late()
					continue
				}
				b.strike(ctx, f)
			}
		})
	}
	lanes.Wait()
}

func (b *breaker) late() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missed++
}

// strike does one fault and mends it.
func (b *breaker) strike(ctx context.Context, f Fault) {
	at := time.Since(b.begun)
	name, err := b.one(ctx, f)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.missed++
		b.say("%7.1fs  %s: %v", at.Seconds(), f.Kind(), err)
		return
	}
	b.done[f.Kind()]++
	b.say("%7.1fs  %s: %s for %s", at.Seconds(), f.Kind(), name, f.Lasts)
}

func (b *breaker) one(ctx context.Context, f Fault) (string, error) {
	switch f.Lane {
	case "replicas":
		return b.replica(ctx, f)
	case "etcd":
		n := 1
		if f.Target == "etcd quorum" {
			n = len(b.rig.Etcds)/2 + 1
		}
		var members []*rig.Member
		var names string
		for i := range n {
			m := b.rig.Etcds[(f.Nth+i)%len(b.rig.Etcds)]
			members, names = append(members, m), names+" "+m.Name
		}
		return names[1:], b.members(ctx, f, members...)
	case "mongod":
		return b.mongod(ctx, f)
	default:
		m := b.take(ctx, f)
		defer b.give(m)
		return m.Name, b.members(ctx, f, m)
	}
}

// take is an agent that no other lane is at. A busy one has a command at work, if there is any soon.
func (b *breaker) take(ctx context.Context, f Fault) *rig.Member {
	for deadline := time.Now().Add(busyPatience); ; {
		hurried := f.Target != "busy agent" || time.Now().After(deadline)
		if m := b.unstruck(f.Nth, hurried); m != nil {
			return m
		}
		if !rest(ctx, 5*time.Millisecond) {
			f.Target = ""
		}
	}
}

// unstruck is the next agent that no other lane is at; unless anyone will do, one with a command at work, or nil.
func (b *breaker) unstruck(nth int, anyone bool) *rig.Member {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.rig.Agents {
		at := (nth + i) % len(b.rig.Agents)
		m := b.rig.Agents[at]
		if !b.taken[m] && (anyone || atWork(filepath.Join(b.rig.Dir, "histories", b.rig.Nodes[at]))) {
			b.taken[m] = true
			return m
		}
	}
	return nil
}

// atWork tells whether a history ends with a start.
func atWork(history string) bool {
	text, err := os.ReadFile(history)
	last := strings.LastIndexByte(strings.TrimSuffix(string(text), "\n"), '\n') + 1
	return err == nil && strings.HasPrefix(string(text[last:]), "S ")
}

func (b *breaker) give(m *rig.Member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.taken, m)
}

// members breaks and mends some at once.
func (b *breaker) members(ctx context.Context, f Fault, members ...*rig.Member) error {
	var all sync.WaitGroup
	errs := make([]error, len(members))
	for i, m := range members {
		all.Go(func() { errs[i] = b.member(ctx, f, m) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (b *breaker) member(ctx context.Context, f Fault, m *rig.Member) error {
	if !m.Running() {
		b.fell(m.Name, m.Tail())
		return m.Launch()
	}
	switch f.Do {
	case "kill":
		m.Kill()
	case "terminate":
		if err := m.Terminate(endPatience); err != nil {
			b.blame("%s: %v", m.Name, err)
		}
	case "freeze":
		m.Freeze()
		defer m.Thaw()
		rest(ctx, f.Lasts)
		return nil
	case "cut":
		if err := m.Cut(ctx, f.What); err != nil {
			return fmt.Errorf("%w: %w", errMissed, err)
		}
		rest(ctx, f.Lasts)
		return m.Heal(context.WithoutCancel(ctx), f.What)
	}
	rest(ctx, f.Lasts)
	return m.Launch()
}

// fell notes a program that ended although nothing was done to it.
func (b *breaker) fell(name, tail string) { b.blame("%s ended by itself:\n%s", name, tail) }

func (b *breaker) blame(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, fmt.Sprintf(format, args...))
}

func (b *breaker) replica(ctx context.Context, f Fault) (string, error) {
	finding, cancel := context.WithTimeout(ctx, findPatience)
	leader, err := b.rig.Leader(finding)
	cancel()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errMissed, err)
	}
	var followers []*rig.Member
	for _, m := range b.rig.Replicas {
		if m != leader {
			followers = append(followers, m)
		}
	}
	if f.Target == "follower" {
		m := followers[f.Nth%len(followers)]
		return m.Name, b.member(ctx, f, m)
	}
	if f.Do != "trap-kill" && f.Do != "trap-stop" {
		return leader.Name, b.member(ctx, f, leader)
	}
	if f.What != failpoint.Elected && f.What != failpoint.Claimed {
		return b.trap(ctx, f, leader)
	}
	// The next leader is to be caught, whoever that will be.
	return b.trap(ctx, f, followers...)
}

// trap sets a trap for some, catches one and lets it go.
func (b *breaker) trap(ctx context.Context, f Fault, members ...*rig.Member) (string, error) {
	do := f.Do[len("trap-"):]
	var set []*rig.Member
	for _, m := range members {
		if m.Running() && m.Trap(ctx, f.What, f.Nth, do) == nil {
			set = append(set, m)
		}
	}
	defer func() { b.free(context.WithoutCancel(ctx), f.What, set) }()
	for _, m := range b.rig.Replicas {
		if slices.Contains(members, m) || !slices.Contains([]string{failpoint.Elected, failpoint.Claimed}, f.What) {
			continue
		}
		m.Kill() // it leads, and does not stand in the way of the others any more
		defer func() {
			if err := m.Launch(); err != nil {
				b.blame("%v", err)
			}
		}()
	}
	if f.What == failpoint.Creating || f.What == failpoint.Created {
		b.more()
	}
	for deadline := time.Now().Add(trapPatience); ; {
		for i, m := range set {
			killed, stopped := !m.Running(), m.Frozen()
			if !killed && !stopped {
				continue
			}
			b.free(ctx, f.What, append(set[:i:i], set[i+1:]...))
			set = nil
			if stopped {
				defer m.Thaw()
				leading, cancel := context.WithTimeout(ctx, 4*b.ttl)
				_, _ = b.rig.Leader(leading) // the stopped one does not answer
				cancel()
			}
			rest(ctx, f.Lasts)
			if killed {
				return m.Name, m.Launch()
			}
			return m.Name, nil
		}
		if time.Now().After(deadline) || !rest(ctx, 10*time.Millisecond) {
			return "", fmt.Errorf("%w: the point was not passed", errMissed)
		}
	}
}

// free takes traps away; who was caught meanwhile goes on at once.
func (b *breaker) free(ctx context.Context, point string, members []*rig.Member) {
	for _, m := range members {
		if m.Running() && !m.Frozen() {
			_ = m.Untrap(ctx, point)
		}
		m.Thaw()
		if !m.Running() {
			if err := m.Launch(); err != nil {
				b.blame("%v", err)
			}
		}
	}
}

func (b *breaker) mongod(ctx context.Context, f Fault) (string, error) {
	set := b.rig.Mongo
	primary, err := set.Primary()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errMissed, err)
	}
	chosen := []int{primary}
	switch f.Target {
	case "secondary":
		chosen = []int{(primary + 1 + f.Nth%(len(set.Members)-1)) % len(set.Members)}
	case "mongod quorum":
		for i := range len(set.Members) / 2 {
			chosen = append(chosen, (primary+1+i)%len(set.Members))
		}
	}
	names := ""
	for _, i := range chosen {
		m := set.Members[i]
		names += fmt.Sprintf(" mongod-%d", i+1)
		switch f.Do {
		case "kill":
			m.Kill()
		case "terminate":
			_ = m.Terminate(endPatience)
		case "freeze":
			m.Freeze()
			defer m.Thaw()
		}
	}
	rest(ctx, f.Lasts)
	if f.Do == "freeze" {
		return names[1:], nil
	}
	var starting sync.WaitGroup
	errs := make([]error, len(chosen))
	for at, i := range chosen {
		starting.Go(func() { errs[at] = set.Members[i].Start() })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		b.blame("%v", err)
	}
	return names[1:], nil
}

// Revive has everything run and serve again.
func (b *breaker) Revive(ctx context.Context) error {
	for _, members := range [][]*rig.Member{b.rig.Etcds, b.rig.Replicas, b.rig.Agents} {
		for _, m := range members {
			if !m.Running() {
				b.fell(m.Name, m.Tail())
				if err := m.Launch(); err != nil {
					return err
				}
			}
		}
	}
	for _, members := range [][]*rig.Member{b.rig.Etcds, b.rig.Replicas, b.rig.Agents} {
		for _, m := range members {
			if err := m.Serves(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}
