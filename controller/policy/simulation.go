package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// Simulation goes through a run that does not exist, as the policy decides it, to plan what it would do. The facts stay as they were
// seen, every action succeeds, every gate and guard holds, every approval is given, and every node is free at once, however many are out. Nothing is done or stored.
type Simulation struct {
	plan    *Plan
	facts   *facts
	now     time.Time
	effects Effects
	asked   []FactRequest // that are not cancelled
	due     []FactRequest // that are to be answered now
	steps   int
	idle    int // how often nothing has changed in sequence
	result  planned
}

const (
	// maxIdle is how often time may pass in a simulation without any change before the run counts as one that waits forever.
	maxIdle = 20
	// stepsPerNode and moreSteps bound the steps of a simulation, by the nodes that go through stages.
	stepsPerNode = 20
	moreSteps    = 1000
)

// Simulate begins the simulation of a run that would be created so. Known is what its nodes are like now.
func Simulate(config Config, create *record.Commit, known []record.Node) (*Simulation, error) {
	run := create.Run
	spec, err := playbook.Load(run.Playbook.Spec)
	if err != nil {
		return nil, fmt.Errorf("load the playbook of a plan: %w", err)
	}
	seen := newFacts(known)
	result := describe(&run, spec, seen)
	planable(spec, &run)
	p, err := newPlan(config, run, spec, nil, create.Nodes, known)
	if err != nil {
		return nil, err
	}
	s := &Simulation{plan: p, facts: seen, now: run.CreatedTS, result: result}
	for i := range create.Nodes {
		if create.Nodes[i].State.Final() {
			s.result.LeftOut = append(s.result.LeftOut, create.Nodes[i].Node)
		}
	}
	s.take(p.Resume(s.now))
	members := Members{Complete: true}
	for i := range known {
		if known[i].Present {
			members.Present = append(members.Present, known[i])
		}
	}
	s.apply(members, Admit{})
	return s, nil
}

// planable changes a playbook to what a simulation assumes, and leaves out the stages whose nodes are known at run time.
func planable(spec *playbook.Spec, run *record.Run) {
	spec.Approval, spec.Timeout, spec.Windows = nil, 0, nil
	spec.Stages = slices.DeleteFunc(spec.Stages, func(stage playbook.Stage) bool { return len(unplanable(&stage)) > 0 })
	for i := range spec.Stages {
		stage := &spec.Stages[i]
		stage.Approval, stage.MaxUnavailable, stage.OnFailure = nil, nil, playbook.FailureContinue
		if stage.Guard != nil {
			stage.Guard = &playbook.Guard{Check: &playbook.Check{}, OnTimeout: stage.Guard.OnTimeout} // without parts it always holds
		}
		if stage.Health != nil && stage.Health.Check != nil {
			stage.Health = nil
		}
		if stage.OrderBy.KnownAtRunTime() {
			stage.OrderBy = nil
		}
		for j := range stage.Steps {
			step := &stage.Steps[j]
			step.Expect = nil
			step.Args, _ = step.Args.Known()
			if step.When.KnownAtRunTime() {
				step.When = nil
			}
		}
	}
	run.State, run.Waiting, run.ApprovalUntil, run.Stages = record.RunPending, nil, nil, NewStages(spec)
}

// unplanable is what decides which nodes a stage is for, or in which groups, and is known at run time.
func unplanable(stage *playbook.Stage) []string {
	var of []string
	if stage.Targets.KnownAtRunTime() {
		of = append(of, "targets")
	}
	if stage.Groups != nil && stage.Groups.By.KnownAtRunTime() {
		of = append(of, "groups")
	}
	return of
}

// Step goes on with the simulation, and is false at its end.
func (s *Simulation) Step() bool {
	if s.plan.ended() || s.result.Error != nil {
		return false
	}
	s.steps++
	inputs := s.answers()
	if len(inputs) == 0 && !s.effects.Continue && !s.pass() {
		s.endless()
		return false
	}
	if len(inputs) == 0 {
		inputs = append(s.answers(), Tick{})
	}
	if s.steps > moreSteps+stepsPerNode*len(s.plan.names)*max(1, len(s.plan.spec.Stages)) {
		s.endless()
		return false
	}
	s.apply(inputs...)
	return !s.plan.ended()
}

func (s *Simulation) endless() {
	data := record.Document{"steps": int64(s.steps)}
	if st := s.plan.stage(); st != nil {
		data["stage"] = st.Name
	}
	if w := s.plan.run.Waiting; w != nil {
		data["wait"] = map[string]any{"for": string(w.For), "stage": w.Stage, "node": w.Node, "data": map[string]any(w.Data)}
	}
	s.result.Error = &record.Error{Code: record.CodePlanEndless, Data: data}
}

func (s *Simulation) apply(inputs ...Input) {
	commit, effects, _ := s.plan.Apply(s.now, inputs)
	s.take(commit, effects)
}

// take notes what was decided, and what is to be answered.
func (s *Simulation) take(commit record.Commit, effects Effects) {
	if !commit.Empty() {
		s.idle = 0
	}
	s.effects = effects
	for _, key := range effects.CancelFacts {
		s.asked = slices.DeleteFunc(s.asked, func(r FactRequest) bool { return r.Key == key })
	}
	s.due = effects.RequestFacts
	s.asked = append(s.asked, s.due...)
	s.result.note(s.plan, &commit, &effects)
}

// answers are what the run is told next without any time passing.
func (s *Simulation) answers() []Input {
	var inputs []Input
	for _, request := range s.effects.LockNodes {
		inputs = append(inputs, Locked{request})
	}
	for i := range s.effects.StartActions {
		start := &s.effects.StartActions[i]
		inputs = append(inputs, Ended{Node: start.Node, ActionID: start.Action.ID, State: record.ActionDone})
	}
	for _, request := range s.due {
		inputs = append(inputs, assumedFacts{request.Key, request.ID, s.facts})
	}
	s.effects.LockNodes, s.effects.StartActions, s.due = nil, nil, nil
	return inputs
}

// pass lets time pass until something may change. It is false where nothing ever does.
func (s *Simulation) pass() bool {
	next := s.now.Add(max(s.plan.Grace(), factsPatience)) // facts stay as they are: only the end of the patience changes anything
	if wake := s.effects.WakeAt; wake != nil && wake.Before(next) {
		next = *wake
	}
	if s.idle++; s.idle > maxIdle || s.effects.WakeAt == nil && len(s.asked) == 0 {
		return false
	}
	if next.After(s.now) {
		s.now = next
	}
	s.due = slices.Clone(s.asked)
	return true
}

// assumedFacts answers a FactRequest with what was seen before the simulation.
type assumedFacts struct {
	key  FactKey
	id   int64
	seen *facts
}

func (in assumedFacts) apply(p *Plan) *record.RejectedError {
	if asked, ok := p.requests[in.key]; !ok || asked.ID != in.id {
		return nil
	}
	p.answers[in.key] = in.seen
	if n := p.nodes[in.key.Node]; n != nil {
		p.touch(n)
	}
	return nil
}
