// Package policy decides what a run does next. It is pure: it reads no clock, no network, no log and no store.
//
// A Plan holds a run and its node records. Apply changes them by what was heard and returns one commit, with what the
// records want once that commit has landed. What is wanted follows from the records alone, so that a new leader's
// Resume asks for what the last leader was doing; there is no other way back.
//
// What must hold, under any order of inputs: an action is saved before it is wanted sent; a node has at most one action
// that is not settled; no more nodes than a batch's size are at work; nothing starts once a stage's failures exceed its
// budget, or the run is paused, cancelled or failed; a record in a final state is not changed but by an operator.
package policy

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

const (
	// factsPatience is how long an expression may wait for a fact, and a node for another run's unsettled action.
	factsPatience = 2 * time.Minute
	// factsEvery is how often absent facts are asked for again.
	factsEvery = 2 * time.Second
	// cancelPatience is how long a run waits for the end of an action that it has cancelled.
	cancelPatience = 20 * time.Second
	// gatePatience is how long after a gate's timeout a leader that has not heard of its nodes yet still waits for that.
	gatePatience = 10 * time.Second
	// maxEntries bounds how many nodes enter a batch, or start, by one commit; the rest follow at once by the next.
	maxEntries = 1024
	// maxNeverStarted bounds how often a step is sent again because its agent restarted before it began.
	maxNeverStarted = 10
	// unknownAttempts is how often a step is tried in all when its ends stay unknown, its on_unknown is retry, and its
	// playbook gives it no attempts.
	unknownAttempts = 3
)

// Config is what a plan needs beside its records.
type Config struct {
	// Grace is how long a node may be gone when the playbook does not say.
	Grace time.Duration
	// Claimed is true when the run was another leader's, or this one's before it lost sight of it.
	Claimed bool
	// Reserve takes a node for an action of this run, and tells who holds it otherwise. It must not block. What it gave is
	// given back by Wants.Release.
	Reserve func(node string) (Holder, bool)
}

// Holder is a run that holds a node.
type Holder struct {
	RunID string
	// Unsettled is true when that run no longer waits for the action.
	Unsettled bool
}

// Plan is a run with its node records and what follows from them. It is not safe for concurrent use, and is worthless
// once a commit of it has failed.
type Plan struct {
	config Config
	run    record.Run
	spec   *playbook.Spec
	nodes  map[string]*node
	names  []string // of nodes, sorted
	runVar map[string]any

	before   head // the run as of the last commit
	dirty    []*node
	runDirty bool
	events   []record.Event
	effects  []record.IdempotencyRecord
	fence    bool
	now      time.Time

	touched  []*node
	ready    []*node // that may have a step to start
	timers   timers
	inFlight int
	pending  []string // nodes of the open stage that no batch has taken, sorted; may hold some that no longer are
	entering []string // nodes chosen for the open batch that have not entered it
	working  int      // members of the open batch that have steps before them
	over     int      // members that passed all steps and wait for the gate
	entries  int      // nodes entered or started by this Apply
	again    bool
	stuck    map[string]bool // nodes that another run keeps waiting
	silent   map[string]string
	behind   string
	factsFor string       // what the decision in hand lacks, in plain words
	gateSeen *observation // the last of the open gate
	results  map[string]any
	// saidWaiting is true while the last event about it said that the run waits.
	saidWaiting bool

	observations map[string]Observation
	asks         int64
	seen         map[string]*observation // what this Apply has heard
	wants        Wants
}

type head struct {
	rev      int64
	commitID string
}

// node is one node's record and what follows from it.
type node struct {
	rec     record.RunNode
	fact    record.Node
	dirty   bool
	touched bool
	member  bool   // of the open batch
	over    bool   // passed all steps of it
	taken   bool   // reserved for an action of this run
	unwell  string // why its health has not decided about an UNKNOWN step, as last heard
}

// Load makes a plan of what a claim has read. Known are the nodes of the cluster as the inventory knows them.
func Load(config Config, run record.Run, nodes []record.RunNode, known []record.Node) (*Plan, error) {
	spec, err := playbook.Load(run.Playbook.Spec)
	if err != nil {
		return nil, fmt.Errorf("load the playbook of run %s: %w", run.ID, err)
	}
	if len(run.Stages) != len(spec.Stages) {
		return nil, fmt.Errorf("run %s has %d stages, its playbook %d", run.ID, len(run.Stages), len(spec.Stages))
	}
	p := &Plan{
		config: config, run: run, spec: spec, nodes: make(map[string]*node, len(nodes)),
		before: head{run.Rev, run.CommitID},
		stuck:  map[string]bool{}, silent: map[string]string{},
		observations: map[string]Observation{},
		runVar: map[string]any{
			"id": run.ID, "cluster": run.Cluster, "playbook": run.Playbook.Name, "requested_by": run.RequestedBy,
		},
	}
	if p.run.Counts == nil {
		p.run.Counts = map[record.NodeState]int{}
	}
	for _, rec := range nodes {
		p.nodes[rec.Node] = &node{rec: rec}
		p.names = append(p.names, rec.Node)
	}
	sort.Strings(p.names)
	for _, fact := range known {
		if n := p.nodes[fact.NodeID]; n != nil {
			n.fact = fact
		}
	}
	return p, nil
}

// Run is the run as of the last Apply. The caller must not change what it points to.
func (p *Plan) Run() record.Run { return p.run }

// Node is a node's record as of the last Apply.
func (p *Plan) Node(name string) (record.RunNode, bool) {
	n := p.nodes[name]
	if n == nil {
		return record.RunNode{}, false
	}
	return n.rec, true
}

// Resume works out everything that the records want, as a new leader needs it, and decides what can be decided at now.
func (p *Plan) Resume(now time.Time) (record.Commit, Wants) {
	p.begin(now)
	for _, name := range p.names {
		p.recover(p.nodes[name])
	}
	p.findPending()
	if p.run.FinishTS == nil {
		if p.config.Claimed {
			p.event(record.EventRunClaimed, "", "", "", record.Document{"term": p.run.Term})
		}
		p.advance()
	}
	return p.finishApply()
}

// recover works out what follows from one node's record.
func (p *Plan) recover(n *node) {
	if a := n.lastAction(); a != nil {
		switch {
		case a.State.InFlight():
			p.inFlight++
			n.taken = true
			p.want(n, a)
			p.wakeAt(a.DeadlineTS, n.rec.Node)
		case a.Unsettled:
			n.taken = true
			p.want(n, a)
		}
	}
	if n.taken {
		p.config.Reserve(n.rec.Node)
	}
	if p.run.FinishTS != nil {
		return
	}
	if e := p.openEntry(n); e != nil {
		n.member = true
		if e.State == record.StageChecking || e.Step >= len(p.stageSpec().Steps) {
			n.over = true
			p.over++
		} else {
			p.working++
		}
		p.touch(n)
	}
	if n.rec.GoneTS != nil {
		p.wakeAt(n.rec.GoneTS.Add(p.grace()), n.rec.Node)
	}
}

// Apply changes the records by what was heard, in order, and returns one commit and what the records then want.
// Refused holds the refusals of commands by their place in inputs; nothing of a refused command is in the commit.
func (p *Plan) Apply(now time.Time, inputs []Input) (record.Commit, Wants, map[int]*record.RejectedError) {
	p.begin(now)
	var refused map[int]*record.RejectedError
	for i, input := range inputs {
		if refusal := input.apply(p); refusal != nil {
			if refused == nil {
				refused = map[int]*record.RejectedError{}
			}
			refused[i] = refusal
		}
	}
	p.timeouts()
	if p.run.FinishTS == nil {
		p.advance()
	}
	commit, wants := p.finishApply()
	return commit, wants, refused
}

func (p *Plan) begin(now time.Time) {
	p.now = record.Time(now)
	p.wants = Wants{}
	p.seen = map[string]*observation{}
	p.entries, p.again = 0, false
}

// advance decides until nothing more can be decided now. What has ended comes before what may start: it may be what
// exceeds the budget.
func (p *Plan) advance() {
	for {
		for len(p.touched) > 0 && p.run.FinishTS == nil {
			n := p.touched[len(p.touched)-1]
			p.touched = p.touched[:len(p.touched)-1]
			n.touched = false
			if p.awaits(n) {
				continue
			}
			p.ready = append(p.ready, n)
		}
		if len(p.ready) > 0 && p.run.FinishTS == nil {
			n := p.ready[0]
			p.ready = p.ready[1:]
			if !p.awaits(n) { // it may be here twice
				p.step(n)
			}
			continue
		}
		p.ready = nil
		if p.run.FinishTS != nil || !p.progress() {
			return
		}
	}
}

func (p *Plan) mark(n *node) {
	if !n.dirty {
		n.dirty = true
		p.dirty = append(p.dirty, n)
	}
}

func (p *Plan) touch(n *node) {
	if !n.touched {
		n.touched = true
		p.touched = append(p.touched, n)
	}
}

func (p *Plan) event(kind record.EventType, node, stage, step string, data record.Document) {
	p.run.Seq++
	p.events = append(p.events, record.Event{
		RunID: p.run.ID, Seq: p.run.Seq, TS: p.now, Type: kind, Node: node, Stage: stage, Step: step, Data: data,
	})
}

// finishApply makes the commit of what has changed.
func (p *Plan) finishApply() (record.Commit, Wants) {
	p.explain()
	p.wants.Again = p.again
	p.wants.Release = slices.DeleteFunc(p.wants.Release, func(name string) bool { return p.nodes[name].taken })
	if len(p.timers) > 0 {
		p.wants.Wake = p.timers[0].at
	}
	if !p.runDirty && len(p.dirty) == 0 && len(p.events) == 0 && len(p.effects) == 0 {
		return record.Commit{}, p.wants
	}
	p.run.Rev = p.before.rev + 1
	p.run.CommitID = fmt.Sprintf("%d.%d", p.run.Term, p.run.Rev)
	p.run.UpdateTS = p.now
	commit := record.Commit{
		ID: p.run.CommitID, After: p.before.commitID, Run: p.run,
		Events: p.events, Idempotency: p.effects, Fence: p.fence,
	}
	commit.Nodes = make([]record.RunNode, len(p.dirty))
	for i, n := range p.dirty {
		if p.run.FinishTS != nil {
			n.rec.FinishTS = p.run.FinishTS
		}
		commit.Nodes[i] = n.rec
		n.dirty = false
	}
	for i := range p.events {
		p.events[i].FinishTS = p.run.FinishTS
	}
	p.before = head{p.run.Rev, p.run.CommitID}
	p.dirty, p.events, p.effects, p.fence, p.runDirty = p.dirty[:0], nil, nil, false, false
	return commit, p.wants
}

func (p *Plan) grace() time.Duration {
	if p.spec.Membership.Grace > 0 {
		return p.spec.Membership.Grace
	}
	return p.config.Grace
}
