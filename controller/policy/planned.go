package policy

import (
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// maxPlanArgs bounds the arguments that a plan holds, in bytes.
const maxPlanArgs = 16 << 20

// planned is a plan that a simulation makes.
type planned struct {
	record.Plan
	spec   map[string]*record.PlanStage // as written, by name; without what is decided
	limits map[string]playbook.Amount   // max_failures of stages
	open   map[stagePass]int            // stages of the plan
	batch  map[batchKey]int             // their batches
	placed map[nodePass]bool
	at     map[nodeStage]place // where a node is in its last batch of a stage
	failed map[string]bool     // nodes
	args   int                 // bytes of arguments
}

type stagePass struct {
	stage  string
	pass   record.PassKind
	number int
}

type batchKey struct {
	stagePass
	group string
	batch int
}

type nodePass struct {
	node string
	stagePass
}

type nodeStage struct{ node, stage string }

type place struct{ stage, batch, node int }

// note adds what one Apply has decided.
func (d *planned) note(p *Plan, commit *record.Commit, effects *Effects) {
	for i := range commit.Events {
		switch e := &commit.Events[i]; e.Type {
		case record.EventStageStarted:
			d.startStage(p, e)
		case record.EventBatchStarted:
			d.startBatch(e)
		}
	}
	for i := range commit.Nodes {
		d.place(&commit.Nodes[i])
	}
	for i := range commit.Events {
		if e := &commit.Events[i]; e.Type == record.EventStepSkipped {
			d.step(e.Node, e.Stage, record.PlanNodeStep{Step: e.Step, Skipped: true})
		}
	}
	for i := range effects.StartActions {
		a := &effects.StartActions[i].Action
		step := record.PlanNodeStep{Step: a.Step}
		if size := record.Size(a.Args); d.args+size <= maxPlanArgs {
			d.args += size
			step.Args = a.Args
		} else {
			step.ArgsLeftOut = true
		}
		d.step(effects.StartActions[i].Node, a.Stage, step)
	}
}

// passOf is the stage and the pass that an event is about.
func passOf(e *record.Event) stagePass {
	key := stagePass{e.Stage, record.PassMain, 1}
	if kind, ok := e.Data["pass"].(string); ok {
		number, _ := e.Data["pass_number"].(int64)
		key.pass, key.number = record.PassKind(kind), int(number)
	}
	return key
}

func (d *planned) startStage(p *Plan, e *record.Event) {
	key := passOf(e)
	at, known := d.open[key]
	if !known {
		stage := *d.spec[e.Stage]
		stage.Pass, stage.Batches = key.pass, []record.PlanBatch{}
		at = len(d.Stages)
		d.open[key], d.Stages = at, append(d.Stages, stage)
	}
	st := &d.Stages[at]
	for i := range p.run.Stages {
		of := &p.run.Stages[i]
		if of.Name != key.stage || of.Pass != key.pass || of.PassNumber != key.number {
			continue
		}
		st.Total, st.MaxFailures = of.Total, d.limits[key.stage].Of(of.Total)
		for _, stage := range p.spec.Stages {
			if stage.Name != key.stage || stage.Groups == nil {
				continue
			}
			st.AtOnce = max(1, stage.Groups.AtOnce.Of(len(of.Groups)))
			for _, g := range of.Groups {
				st.Groups = append(st.Groups, g.Key)
			}
		}
	}
}

func (d *planned) startBatch(e *record.Event) {
	group, _ := e.Data["group"].(string)
	number, _ := e.Data["batch"].(int64)
	key := batchKey{passOf(e), group, int(number)}
	st := &d.Stages[d.open[key.stagePass]]
	d.batch[key] = len(st.Batches)
	st.Batches = append(st.Batches, record.PlanBatch{Group: group, Batch: key.batch, Nodes: []record.PlanNode{}})
}

// place puts a node into the batches that have taken it, and notes that it has failed: nothing but an absent fact or a node that does not
// answer makes a node fail here.
func (d *planned) place(n *record.RunNode) {
	for i := range n.Stages {
		e := &n.Stages[i]
		key := nodePass{n.Node, stagePass{e.Name, e.Pass, e.PassNumber}}
		at, known := d.batch[batchKey{key.stagePass, e.Group, e.Batch}]
		if !known || d.placed[key] {
			continue
		}
		d.placed[key] = true
		stage := d.open[key.stagePass]
		batch := &d.Stages[stage].Batches[at]
		d.at[nodeStage{n.Node, e.Name}] = place{stage, at, len(batch.Nodes)}
		batch.Nodes = append(batch.Nodes, record.PlanNode{Node: n.Node, Steps: []record.PlanNodeStep{}})
	}
	if n.State == record.NodeFailed && !d.failed[n.Node] {
		d.failed[n.Node] = true
		one := record.PlanUndecided{Node: n.Node, Error: n.Error}
		if len(n.Stages) > 0 {
			one.Stage = n.Stages[len(n.Stages)-1].Name
		}
		d.Undecided = append(d.Undecided, one)
	}
}

func (d *planned) step(node, stage string, step record.PlanNodeStep) {
	at, ok := d.at[nodeStage{node, stage}]
	if !ok {
		return
	}
	n := &d.Stages[at.stage].Batches[at.batch].Nodes[at.node]
	n.Steps = append(n.Steps, step)
}

// Plan is what the simulation has come to. Stopped is why it was stopped before its end; nil where it was not.
func (s *Simulation) Plan(stopped *record.Error) record.Plan {
	d, run := s.result, &s.plan.run
	if d.Error == nil {
		d.Error = stopped
	}
	if d.Error == nil && run.Error != nil && run.Error.Code != record.CodeNodesFailed {
		d.Error = run.Error
	}
	unplanned := false
	for i := range d.Stages {
		st := &d.Stages[i]
		unplanned = unplanned || len(st.AtRunTime) > 0
		for j := range st.Batches {
			slices.SortFunc(st.Batches[j].Nodes, func(a, b record.PlanNode) int { return record.CompareIDs(a.Node, b.Node) })
		}
		for _, u := range d.Undecided {
			if u.Stage == st.Name {
				st.Undecided++
			}
		}
		st.Stops = st.Undecided > st.MaxFailures && st.OnFailure != string(playbook.FailureContinue)
		if of := s.plan.stageRecord(st.Name, pass{kind: st.Pass, number: 1}); of != nil {
			st.Error = of.Error
		}
	}
	for _, name := range s.plan.names {
		if n := s.plan.nodes[name]; n.rec.State == record.NodeSkipped && !n.outside() && !unplanned {
			d.Untouched = append(d.Untouched, name)
		}
	}
	return d.Plan
}
