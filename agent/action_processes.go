package agent

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/replicante-io/playbooks/internal/retry"
)

const (
	// minPollInterval is how soon it is checked again whether processes have ended, maxPollInterval how late.
	minPollInterval = 10 * time.Millisecond
	maxPollInterval = 200 * time.Millisecond
)

// actionProcesses finds the processes of one action. A process is the action's if it is in the action's cgroup, in a session or
// process group of the action, has the action's ID in its environment, or was started by a process that was found. Where the agent
// inherits orphans (Reaper), so is every orphan that cannot be another's. What a service manager starts is not the action's.
type actionProcesses struct {
	mark   []byte   // the variable with the action's ID
	cgroup *cgroup  // nil for none
	leader *process // the process of the command; nil where it is not known
	reaper *Reaper
	// found are the processes found before: the start of each by PID. sessions are the action's.
	found    map[int]uint64
	sessions map[int]bool
}

func newActionProcesses(id string, leader *process, c *cgroup, reaper *Reaper) *actionProcesses {
	p := &actionProcesses{mark: []byte(envActionID + "=" + id), cgroup: c, leader: leader, reaper: reaper,
		found: map[int]uint64{}, sessions: map[int]bool{}}
	if leader != nil && leader.Boot != bootID() {
		p.leader = nil
	}
	return p
}

// find returns the processes of the action that have not ended.
func (p *actionProcesses) find() ([]status, error) {
	own := p.reaper.ownChildren() // before the list, as a child in the list may otherwise be missing here
	all, err := processes()
	if err != nil {
		return nil, err
	}
	marked := p.marked(all)
	p.addSessions(all, marked)
	kept := lineage(all, os.Getpid())
	inCgroup := p.cgroup.processes()
	parents := map[int]bool{}
	member := func(s status) bool {
		return inCgroup[s.pid] || marked[s.pid] || p.sessions[s.session] || p.sessions[s.group] || parents[s.parent] ||
			p.found[s.pid] == s.start || p.orphan(s, own)
	}
	var left []status
	for more := true; more; { // children may be listed before their parents
		more = false
		for _, s := range all {
			if !s.zombie && !kept[s.pid] && !parents[s.pid] && member(s) {
				parents[s.pid], more = true, true
				p.found[s.pid] = s.start
				left = append(left, s)
			}
		}
	}
	return left, nil
}

// marked are the processes with the action's ID in their environment.
func (p *actionProcesses) marked(all []status) map[int]bool {
	marked := map[int]bool{}
	for _, s := range all {
		if !s.zombie && (p.leader == nil || s.start >= p.leader.Start) && hasVariable(s.pid, p.mark) {
			marked[s.pid] = true
		}
	}
	return marked
}

// addSessions finds the sessions of the action: that of its command, and those of marked processes, unless another program leads
// them.
func (p *actionProcesses) addSessions(all []status, marked map[int]bool) {
	foreign := map[int]bool{}
	for _, s := range all {
		if s.pid == s.session && !s.zombie && !marked[s.pid] {
			foreign[s.pid] = true
		}
	}
	if p.leader != nil {
		// The PID of a leader that has ended is not used again while its session has a process.
		reused := slices.ContainsFunc(all, func(s status) bool { return s.pid == p.leader.PID && s.start != p.leader.Start })
		p.sessions[p.leader.PID] = !reused
	}
	for _, s := range all {
		if marked[s.pid] && !foreign[s.session] {
			p.sessions[s.session] = true
		}
	}
}

// orphan reports whether a process was left behind by a process of the action, as far as that can be known.
func (p *actionProcesses) orphan(s status, own map[int]bool) bool {
	return p.reaper != nil && s.parent == os.Getpid() && !own[s.pid] && p.leader != nil && s.start >= p.leader.Start &&
		!hasVariable(s.pid, []byte(envProbe+"=1"))
}

func (p *actionProcesses) signalGroup(sig syscall.Signal) {
	if p.leader != nil && p.sessions[p.leader.PID] {
		_ = syscall.Kill(-p.leader.PID, sig)
	}
}

// stop sends SIGTERM to the processes, and SIGKILL after the grace, until none is left or ctx ends.
func (a *Agent) stop(ctx context.Context, id string, p *actionProcesses) error {
	start, warned := time.Now(), false
	sig := syscall.SIGTERM
	terminated := map[int]uint64{}
	wait := minPollInterval
	for {
		left, err := p.find()
		if err == nil && len(left) == 0 {
			return nil
		}
		if sig == syscall.SIGTERM && time.Since(start) >= a.cfg.KillGrace {
			sig, wait = syscall.SIGKILL, minPollInterval
		}
		if len(terminated) == 0 || sig == syscall.SIGKILL {
			p.signalGroup(sig) // first, so that it reaches what is forked meanwhile
		}
		if sig == syscall.SIGKILL {
			p.cgroup.kill()
		}
		for _, s := range left {
			if sig == syscall.SIGKILL || terminated[s.pid] != s.start {
				terminated[s.pid] = s.start
				s.signal(sig)
			}
		}
		if !warned && (err != nil || time.Since(start) > a.cfg.KillGrace+30*time.Second) {
			warned = true
			a.log.Warn("processes of an action do not end; the action is not over before they have", "action", id,
				"processes", describe(left), "error", err)
		}
		if !retry.Sleep(ctx, wait) {
			return ctx.Err()
		}
		wait = min(wait*2, maxPollInterval, max(minPollInterval, a.cfg.KillGrace/4))
	}
}

// describe names processes, the first few of many.
func describe(left []status) string {
	const most = 5
	var names []string
	for _, s := range left[:min(len(left), most)] {
		names = append(names, fmt.Sprintf("%s (%d)", s.name, s.pid))
	}
	if len(left) > most {
		names = append(names, fmt.Sprintf("and %d more", len(left)-most))
	}
	return strings.Join(names, ", ")
}
