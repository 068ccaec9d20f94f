// Package policy decides what a run does next. It is pure: it reads no clock, no network, no log and no store.
//
// A Plan holds a run and its node records. Apply changes them by its inputs and returns one commit, and the effects that
// the records call for once that commit is stored. Effects follow from records alone: Resume computes all of them for a new
// leader, and there is no other way back.
//
// What must hold, under any order of inputs: an action is saved before its start is an effect; a node has at most one action
// that is not settled; no more nodes than a batch's size are at work; nothing starts once a stage's failures exceed its
// budget, or the run is paused, cancelled or failed; a record in a final state is changed only by an operator.
package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

const (
	// factsPatience is how long an expression may wait for a fact, and a node for another run's unsettled action.
	factsPatience = 2 * time.Minute
	// factsEvery is how often absent facts are asked for again.
	factsEvery = 2 * time.Second
	// stopPatience is how long a run waits for the end of an action that it has told its agent to stop.
	stopPatience = 20 * time.Second
	// gatePatience is how much longer than a gate's timeout a leader waits that has no facts about its nodes yet.
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
	// Claimed is true when another leader had the run, or this one before it lost sight of it.
	Claimed bool
	// Refused is what the store has refused of the run.
	Refused Refused
	// CommitBytes is about how much one commit writes where a decision can be carried out node by node; 0: CommitBytes.
	CommitBytes int
}

// Plan is a run with its node records and what follows from them. It is not safe for concurrent use, and is worthless
// once a commit of it has failed.
type Plan struct {
	config Config
	run    record.Run
	spec   *playbook.Spec
	where  *playbook.Expr // for which nodes the run is; nil: not restricted so
	pass   pass
	nodes  map[string]*node
	names  []string // of nodes, sorted

	// What changes with every Apply.
	now     time.Time
	answers map[FactKey]*facts // in this Apply
	effects Effects
	pending changes // what the next commit holds
	queue   workQueue
	entered int  // how many nodes entered a batch or started in this Apply
	written int  // about how many bytes of node records its commit has
	more    bool // there was more to do than one commit should hold

	selecting bool // facts are needed to select a next batch

	// What follows from the records.
	timers   timers
	mode     timerMode
	inFlight int
	groups   map[string]*group // of the open stage, by key
	// pickedBefore is how many nodes were done with the open stage before this pass, where it picks.
	pickedBefore int
	waits        waits // of nodes

	// What is known only in memory; a new leader learns it again.
	requests   map[FactKey]FactRequest
	requestID  int64
	offset     time.Duration     // of the times in records from this leader's clock
	holders    map[string]Holder // of nodes that another run has locked
	silent     map[string]string // why the agents of these nodes do not answer
	behind     string            // the run that this one is queued behind
	overLimit  int64             // the last request for facts that did not allow a batch
	guardSeen  bool              // this leader has seen facts on which the guard it waits for does not hold
	expression expressionVars
}

// node is one node's record and what follows from it.
type node struct {
	rec     record.RunNode
	fact    record.Node // as last observed
	dirty   bool
	queued  bool // in the work queue
	locked  bool // for this run
	ordered bool // the effects of this Apply have its action
	unwell  *record.Error
	refused string // why the store has refused its record; empty where it has not
	timerAt int    // its place among the timers; 0 for none
}

// Load makes a plan of what a claim has read. Known are the nodes of the cluster as the inventory knows them.
func Load(config Config, run record.Run, nodes []record.RunNode, known []record.Node) (*Plan, error) {
	spec, err := playbook.Load(run.Playbook.Spec)
	if err != nil {
		return nil, fmt.Errorf("load the playbook of run %s: %w", run.ID, err)
	}
	where, err := Where(spec, run.Where)
	if err != nil {
		return nil, fmt.Errorf("load the where of run %s: %w", run.ID, err)
	}
	return newPlan(config, run, spec, where, nodes, known)
}

func newPlan(config Config, run record.Run, spec *playbook.Spec, where *playbook.Expr, nodes []record.RunNode, known []record.Node) (*Plan, error) {
	if config.CommitBytes == 0 {
		config.CommitBytes = CommitBytes
	}
	p := &Plan{
		config: config, run: run, spec: spec, where: where, nodes: make(map[string]*node, len(nodes)),
		groups: map[string]*group{}, requests: map[FactKey]FactRequest{},
		holders: map[string]Holder{}, silent: map[string]string{}, waits: waits{},
	}
	p.pending.head = head{run.Rev, run.CommitID}
	p.pass = newPass(spec, &p.run)
	for i := range p.pass.stages {
		if p.stageRecord(p.pass.stages[i].Name, p.pass) == nil {
			return nil, fmt.Errorf("run %s has no record of stage %s in pass %s %d", run.ID, p.pass.stages[i].Name, p.pass.kind, p.pass.number)
		}
	}
	if p.run.Counts == nil {
		p.run.Counts = map[record.NodeState]int{}
	}
	for _, rec := range nodes {
		p.nodes[rec.Node] = &node{rec: rec}
		p.names = append(p.names, rec.Node)
	}
	slices.SortFunc(p.names, record.CompareIDs)
	for _, fact := range known {
		if n := p.nodes[fact.NodeID]; n != nil {
			n.fact = fact
		}
	}
	p.refuse()
	return p, nil
}

// NewStages are the stage records of a run of spec that has not begun.
func NewStages(spec *playbook.Spec) []record.RunStage {
	return mainPass(spec).records()
}

// Run is the run as of the last Apply. The caller must not change what it points to.
func (p *Plan) Run() record.Run { return p.run }

// Busy are the nodes that a run with these records must have locked: those in an open batch, and those with an action that
// is not settled.
func Busy(nodes []record.RunNode) []string {
	var busy []string
	for i := range nodes {
		if needsLock(&nodes[i]) {
			busy = append(busy, nodes[i].Node)
		}
	}
	return busy
}

// Unsettled are those of the busy nodes that only an action holds which may still be running.
func Unsettled(nodes []record.RunNode) []string {
	var unsettled []string
	for i := range nodes {
		if needsLock(&nodes[i]) && onlyUnsettled(&nodes[i]) {
			unsettled = append(unsettled, nodes[i].Node)
		}
	}
	return unsettled
}

func onlyUnsettled(rec *record.RunNode) bool {
	inBatch := len(rec.Stages) > 0 && rec.Stages[len(rec.Stages)-1].State.InBatch()
	return !inBatch && rec.Unsettled()
}

func needsLock(rec *record.RunNode) bool {
	if len(rec.Stages) > 0 && rec.Stages[len(rec.Stages)-1].State.InBatch() {
		return true
	}
	if len(rec.Actions) == 0 {
		return false
	}
	last := &rec.Actions[len(rec.Actions)-1]
	return last.State.InFlight() || last.Unsettled
}

// Grace is how long a node may be gone, or its agent may not answer at its turn.
func (p *Plan) Grace() time.Duration {
	if p.spec.Membership.Grace > 0 {
		return p.spec.Membership.Grace
	}
	return p.config.Grace
}

func (p *Plan) ended() bool { return p.run.State.Final() }
