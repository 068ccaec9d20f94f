// Package agent runs actions on one node, one at a time and in the order in which they were accepted, and serves the
// agent's HTTP interface (package wire).
//
// It promises that an action is started at most once as long as its journal exists, across any crash: an action is in the
// journal before its POST is answered, its start is in the journal before its command runs, and an ID stays known for as
// long as the journal does. What an earlier process of the agent left running is stopped before any request is answered.
// Nothing is reported that is not in the journal.
package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/failpoint"
)

// ErrJournalInUse means that another agent runs on the same data directory.
var ErrJournalInUse = errors.New("another agent uses this journal")

// Config says what an agent is.
type Config struct {
	NodeID    string
	ClusterID string
	// Attributes are the node's own; those of the probe replace them.
	Attributes map[string]any
	// DataDir holds the journal; one agent at a time may use it. "" keeps the journal in memory, for simulated nodes: such
	// an agent forgets everything when it is closed.
	DataDir string
	// Actions are the external commands by name. No other command is ever run.
	Actions map[string]Command
	// Probe observes the node. It is called every ProbeInterval and when facts are requested, never twice at once, and must
	// return when its context ends. Without it the node is HEALTHY.
	Probe         func(context.Context) (Info, error)
	ProbeInterval time.Duration // 5 s by default
	ProbeTimeout  time.Duration // at most how long Probe takes; 0 where that is not known
	// OnInfo is called with the facts of the node when they have changed. Calls follow each other and must be short.
	OnInfo func(Info)
	// Warning is what is wrong with the agent, for the status_reason of its node; "" for nothing. It must be short. It may be nil.
	Warning func() string
	// OnStart is called with each action that is started, before it runs. It must be short.
	OnStart func(wire.Action)
	Version wire.AgentVersion
	// KillGrace is how long a process group has between SIGTERM and SIGKILL; 5 s by default.
	KillGrace time.Duration
	// Reaper is for a process that is this agent and nothing else; nil otherwise.
	Reaper *Reaper
	Log    hclog.Logger
}

// Command is a configured command. It is run without a shell.
type Command struct {
	Command []string
	// Timeout stops the command; 0: only the request's timeout does.
	Timeout time.Duration
	// User is whom the command runs as, by name or number; "" is the agent's own user.
	User string
}

const (
	defaultKillGrace = 5 * time.Second
	// keepFinished is how long the details of a finished action are kept. Its ID is kept forever.
	keepFinished = 14 * 24 * time.Hour
	// purgeInterval is how often details are purged, purgeLimit how many at a time.
	purgeInterval = time.Hour
	purgeLimit    = 500
)

// Agent is the agent of one node. It is made by New, and works between Open and Close, or while Run runs.
type Agent struct {
	cfg   Config
	log   hclog.Logger
	facts *facts

	// change is held by whoever changes an action or a term: the change is in the journal before anyone sees it. It is taken
	// before mu.
	change    sync.Mutex
	journal   journal
	terms     map[string]int64
	nextSeq   uint64
	lastPurge time.Time

	// mu guards what is seen. No I/O is done while it is held.
	mu      sync.Mutex
	state   lifeState
	live    map[string]*task // accepted, not ended
	queue   []*task          // in order of acceptance; the first may be running
	working bool
	workers sync.WaitGroup
	closing chan struct{}
	ready   chan struct{}
}

type lifeState int

const (
	stateNew lifeState = iota
	stateOpen
	stateClosed
)

// New makes an agent that does nothing yet.
func New(cfg Config) *Agent {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.KillGrace <= 0 {
		cfg.KillGrace = defaultKillGrace
	}
	a := &Agent{cfg: cfg, log: cfg.Log, closing: make(chan struct{}), ready: make(chan struct{})}
	a.facts = &facts{agent: a}
	return a
}

// Run opens the agent, runs until ctx ends, and closes it. Handler serves it meanwhile.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.Open(ctx); err != nil {
		return err
	}
	a.facts.refresh(ctx, a.cfg.ProbeInterval)
	<-ctx.Done()
	return a.Close()
}

// Open opens the journal, stops what an earlier process left running (however long that takes, until ctx ends), and records
// what was lost. Requests are answered from then on. An open agent without actions has no goroutine.
func (a *Agent) Open(ctx context.Context) error {
	if err := a.cfg.check(); err != nil {
		return err
	}
	a.change.Lock()
	defer a.change.Unlock()
	a.mu.Lock()
	state := a.state
	a.mu.Unlock()
	if state != stateNew {
		return errors.New("open agent: it has been opened before")
	}
	var err error
	if a.cfg.DataDir == "" {
		a.journal = newMemoryJournal()
	} else if a.journal, err = openBoltJournal(a.cfg.DataDir); err != nil {
		return err
	}
	if err := a.recover(ctx); err != nil {
		return errors.Join(err, a.journal.close())
	}
	a.mu.Lock()
	a.state = stateOpen
	a.mu.Unlock()
	a.warnOfCommands()
	close(a.ready)
	a.log.Info("agent is ready", "node", a.cfg.NodeID, "journal", a.journal.id())
	return nil
}

// Ready is closed once the agent is open.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// JournalID identifies the journal; it may be called once the agent is ready.
func (a *Agent) JournalID() string { return a.journal.id() }

// Close stops the running action, which is then lost, waits for its end, and closes the journal. Queued actions will be
// never_started when the journal is opened again.
func (a *Agent) Close() error {
	a.change.Lock()
	a.mu.Lock()
	if a.state != stateOpen {
		a.mu.Unlock()
		a.change.Unlock()
		return nil
	}
	a.state = stateClosed
	close(a.closing)
	if len(a.queue) > 0 && a.queue[0].stop != nil {
		a.queue[0].stop(errAgentStops)
	}
	a.mu.Unlock()
	a.change.Unlock()

	a.workers.Wait()
	a.facts.close()
	a.change.Lock()
	defer a.change.Unlock()
	return a.journal.close()
}

var actionName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`)

func (c *Config) check() error {
	if c.NodeID == "" || c.ClusterID == "" {
		return errors.New("open agent: the node ID and the cluster ID are required")
	}
	for name, command := range c.Actions {
		if !actionName.MatchString(name) {
			return fmt.Errorf("open agent: %q is not a valid name of an action: use letters, digits, '.', '_' and '-'", name)
		}
		if len(command.Command) == 0 || command.Command[0] == "" {
			return fmt.Errorf("open agent: action %s has no command", name)
		}
		if command.Timeout < 0 {
			return fmt.Errorf("open agent: the timeout of action %s is negative", name)
		}
	}
	return nil
}

// warnOfCommands logs which commands cannot be started now. They may be installed later.
func (a *Agent) warnOfCommands() {
	for _, name := range slices.Sorted(maps.Keys(a.cfg.Actions)) {
		command := a.cfg.Actions[name]
		_, err := exec.LookPath(command.Command[0])
		if err == nil {
			_, _, err = become(command.User)
		}
		if err != nil {
			a.log.Warn("the command of an action cannot be started now; the action fails until it can", "name", name, "error", err)
		}
	}
}

// recover stops what an earlier process left running, and only then records what was lost.
func (a *Agent) recover(ctx context.Context) error {
	open, err := a.journal.unfinished()
	if err != nil {
		return fmt.Errorf("read the unfinished actions from the journal: %w", err)
	}
	if a.terms, err = a.journal.terms(); err != nil {
		return fmt.Errorf("read the terms from the journal: %w", err)
	}
	running := slices.DeleteFunc(slices.Clone(open), func(e *entry) bool {
		return e.Action.State.Phase != wire.PhaseRunning
	})
	for _, e := range running {
		if err := a.stopRemaining(ctx, e); err != nil {
			return fmt.Errorf("stop what still runs of action %s: %w", e.Action.ID, err)
		}
	}
	changes := make([]change, 0, len(open))
	for _, e := range open {
		if e.Action.State.Phase == wire.PhaseRunning {
			e.fail(wire.CodeLost, "the agent stopped while the action ran; what was left of it was stopped")
		} else {
			e.fail(wire.CodeNeverStarted, "the agent stopped before the action was started")
		}
		a.log.Warn("action was lost when the agent stopped", "action", e.Action.ID, "phase", e.Action.State.Phase,
			"error", string(e.Action.State.Error))
		changes = append(changes, change{put: e})
	}
	if len(changes) > 0 {
		if err := a.journal.write(changes...); err != nil {
			return fmt.Errorf("record the lost actions in the journal: %w", err)
		}
	}
	a.purge(failpoint.Wall())
	return nil
}

// stopRemaining stops what an earlier process of the agent left running of an action. It returns when nothing is left, or ctx
// ends. It cannot know what was meant to stay.
func (a *Agent) stopRemaining(ctx context.Context, e *entry) error {
	if !strings.HasPrefix(e.Action.Kind, wire.KindExternalPrefix) {
		return nil
	}
	group := cgroupOf(e.Action.ID)
	if e.Process != nil && e.Process.Cgroup != "" {
		group = &cgroup{dir: e.Process.Cgroup}
	}
	if err := a.stop(ctx, e.Action.ID, newActionProcesses(e.Action.ID, e.Process, group, nil)); err != nil {
		return err
	}
	group.remove()
	removeFiles(a.cfg.DataDir, e.Action.ID)
	return nil
}

// purge drops the details of actions that finished long ago, a bounded number at a time. The caller holds change.
func (a *Agent) purge(now time.Time) {
	if now.Sub(a.lastPurge) < purgeInterval {
		return
	}
	dropped, err := a.journal.purge(now.Add(-keepFinished), purgeLimit)
	if err != nil {
		a.log.Warn("old actions cannot be purged from the journal", "error", err)
	}
	if dropped < purgeLimit {
		a.lastPurge = now
	}
}
