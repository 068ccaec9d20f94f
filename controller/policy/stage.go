package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// stageSpec is the stage that the run is at; stage its progress.
func (p *Plan) stageSpec() *playbook.Stage {
	if p.run.StageIndex >= len(p.spec.Stages) {
		return &playbook.Stage{}
	}
	return &p.spec.Stages[p.run.StageIndex]
}

func (p *Plan) stage() *record.RunStage { return &p.run.Stages[p.run.StageIndex] }

// started tells whether the stage that the run is at has chosen its nodes in this pass.
func (p *Plan) started() bool {
	return p.run.StageIndex < len(p.spec.Stages) &&
		p.stage().State == record.StageRunning && p.stage().Pass == p.run.Pass
}

// progressStage takes one decision about the stage that the run is at.
func (p *Plan) progressStage() bool {
	if p.run.StageIndex >= len(p.spec.Stages) {
		return p.endPass()
	}
	if !p.started() {
		return p.openStage()
	}
	st := p.stage()
	if p.exceeded() {
		return p.overBudget()
	}
	if !st.Open {
		if st.PauseUntil != nil && p.now.Before(*st.PauseUntil) {
			p.wakeAt(*st.PauseUntil, "")
			return false
		}
		if p.pending = p.stillPending(); len(p.pending) == 0 {
			p.closeStage()
			return true
		}
		return p.openBatch()
	}
	if p.enter() {
		return true
	}
	if p.working > 0 || p.inFlight > 0 || len(p.entering) > 0 || p.again {
		return false
	}
	if p.over > 0 {
		return p.gate()
	}
	return p.closeBatch()
}

// endPass goes on with the nodes that appeared since, or ends the run.
func (p *Plan) endPass() bool {
	newcomers := false
	for _, name := range p.names {
		n := p.nodes[name]
		if n.rec.State == record.NodeAdded {
			p.setNode(n, record.NodePending, "")
			newcomers = true
		}
	}
	if !newcomers {
		p.finish(record.RunDone)
		return true
	}
	p.run.Pass = record.PassNewcomers
	p.run.StageIndex = 0
	for i := range p.run.Stages {
		if st := &p.run.Stages[i]; st.Pass == p.run.Pass {
			st.Pass = record.PassMain // closed by an earlier round of newcomers
		}
	}
	p.runDirty = true
	return true
}

// takesPart tells whether the node may be a target in this pass.
func (p *Plan) takesPart(n *node) bool {
	if n.rec.Newcomer != (p.run.Pass == record.PassNewcomers) {
		return false
	}
	return n.rec.State == record.NodePending || n.rec.State == record.NodeRunning
}

// openStage decides which nodes the stage is for.
func (p *Plan) openStage() bool {
	spec, st := p.stageSpec(), p.stage()
	if p.run.Pass == record.PassNewcomers && spec.Pick > 0 {
		p.run.StageIndex++
		p.runDirty = true
		return true
	}
	key := p.decisionKey("targets")
	var seen *observation
	if spec.Targets != nil && spec.Targets.NeedsFacts() || spec.Targets.NeedsAllNodes() {
		var ask []string
		for _, name := range p.names {
			if p.takesPart(p.nodes[name]) {
				ask = append(ask, name)
			}
		}
		if len(ask) > 0 {
			if seen = p.observe(key, factsEvery, spec.Targets.NeedsAllNodes(), ask...); seen == nil {
				return false
			}
		}
	}
	var targets, others []*node
	for _, name := range p.names {
		n := p.nodes[name]
		if !p.takesPart(n) || n.entryOf(spec.Name) != nil {
			continue
		}
		matches := true
		if spec.Targets != nil {
			var err error
			if matches, err = spec.Targets.Bool(p.vars(n, seen)); err != nil {
				return p.undecided(key, fmt.Sprintf("which nodes stage %s is for", spec.Name), n, err)
			}
		}
		if matches {
			targets = append(targets, n)
		} else {
			others = append(others, n)
		}
	}
	p.unobserve(key)
	p.decided(st)
	if st.StartTS == nil {
		started := p.now
		st.StartTS = &started
		p.event(record.EventStageStarted, "", spec.Name, "", playbook.Document{"nodes": int64(len(targets))})
	}
	if st.Counts == nil {
		st.Counts = map[record.NodeState]int{}
	}
	st.Pass, st.State = p.run.Pass, record.StageRunning
	st.Total += len(targets)
	if len(targets) > 0 {
		st.Counts[record.NodePending] += len(targets)
	}
	p.runDirty = true
	p.pending = p.pending[:0]
	for _, n := range targets {
		p.pending = append(p.pending, n.rec.Node)
		if spec.Targets != nil {
			n.rec.Stages = append(n.rec.Stages, record.NodeStage{Name: spec.Name, Pass: p.run.Pass, State: record.StagePending})
			p.mark(n)
		}
	}
	if p.run.StageIndex == len(p.spec.Stages)-1 {
		for _, n := range others {
			p.endedStages(n)
		}
	}
	st.Batches = st.Batch + p.batchesFor(len(targets))
	if len(targets) == 0 && p.run.Pass == record.PassMain && !spec.AllowEmpty {
		message := fmt.Sprintf("stage %s is for no node", spec.Name)
		if spec.Targets != nil {
			message += fmt.Sprintf(": no node that is still in the run matches %s", spec.Targets)
		} else {
			message += ": no node is left in the run"
		}
		p.failStage(record.CodeNoTargets, message)
	}
	return true
}

// endedStages ends the record of a node that no later stage is for.
func (p *Plan) endedStages(n *node) {
	if n.rec.State == record.NodeRunning {
		p.setNode(n, record.NodeDone, "")
	} else {
		p.setNode(n, record.NodeSkipped, "no stage was for it")
	}
}

// failStage ends the run because its stage cannot go on.
func (p *Plan) failStage(code, message string) {
	st := p.stage()
	st.Error = &record.Error{Code: code, Message: message}
	p.fail(code, message)
}

// undecided waits for a fact that a decision of the stage lacks, until its patience is over.
func (p *Plan) undecided(key, what string, n *node, err error) bool {
	name := ""
	if n != nil {
		name = " on node " + n.rec.Node
	}
	delete(p.seen, key)
	st := p.stage()
	if !errors.Is(err, playbook.ErrAbsent) {
		p.unobserve(key)
		p.failStage(record.CodeExpression, fmt.Sprintf("cannot decide %s%s: %v", what, name, err))
		return true
	}
	if st.FactsUntil == nil {
		until := p.now.Add(factsPatience)
		st.FactsUntil = &until
		p.runDirty = true
	}
	if !p.now.Before(*st.FactsUntil) {
		p.unobserve(key)
		p.failStage(record.CodeFactsAbsent, fmt.Sprintf("cannot decide %s%s: %v; waited %s for it", what, name, err, factsPatience))
		return true
	}
	p.factsFor = fmt.Sprintf("a fact that decides %s%s: %v", what, name, err)
	p.wakeAt(*st.FactsUntil, "")
	if _, asked := p.observations[key]; !asked { // the expression needs no observation, only time
		p.observe(key, factsEvery, true)
	}
	return false
}

// decided forgets that a decision of the stage has waited for facts.
func (p *Plan) decided(st *record.RunStage) {
	if st.FactsUntil != nil {
		st.FactsUntil = nil
		p.runDirty = true
	}
	p.factsFor = ""
}

func (p *Plan) decisionKey(what string) string {
	return fmt.Sprintf("%s/%s/%s/%d", what, p.stageSpec().Name, p.run.Pass, p.stage().Batch)
}

// findPending finds the nodes that the open stage is for and no batch has taken.
func (p *Plan) findPending() {
	p.pending = p.pending[:0]
	if !p.started() {
		return
	}
	for _, name := range p.names {
		if p.isPending(p.nodes[name]) {
			p.pending = append(p.pending, name)
		}
	}
}

func (p *Plan) isPending(n *node) bool {
	if !p.takesPart(n) {
		return false
	}
	e := n.entryOf(p.stageSpec().Name)
	if e == nil {
		return p.stageSpec().Targets == nil
	}
	return e.State == record.StagePending && e.Batch == 0
}

func (p *Plan) stillPending() []string {
	kept := p.pending[:0]
	for _, name := range p.pending {
		if p.isPending(p.nodes[name]) {
			kept = append(kept, name)
		}
	}
	return kept
}

// batchSize is how many nodes the stage's batch number (from 1) takes.
func (p *Plan) batchSize(number int) int {
	amounts := p.stageSpec().Batch
	amount := playbook.Amount{Count: 1}
	if len(amounts) > 0 {
		amount = amounts[min(number, len(amounts))-1]
	}
	return max(1, amount.Of(p.stage().Total))
}

func (p *Plan) batchesFor(nodes int) int {
	batches := 0
	for number := p.stage().Batch + 1; nodes > 0; number++ {
		nodes -= p.batchSize(number)
		batches++
	}
	return batches
}

// openBatch chooses the nodes of the next batch.
func (p *Plan) openBatch() bool {
	st := p.stage()
	chosen, ok := p.choose(p.batchSize(st.Batch + 1))
	if !ok || len(chosen) == 0 { // without any, whoever was left has failed at its turn
		return ok
	}
	st.Open, st.Size = true, len(chosen)
	st.Batch++
	st.Batches = max(st.Batches, st.Batch)
	st.PauseUntil = nil
	p.entering = chosen
	p.runDirty = true
	shown := chosen[:min(len(chosen), 100)]
	names := make([]any, len(shown))
	for i, name := range shown {
		names[i] = name
	}
	p.event(record.EventBatchStarted, "", p.stageSpec().Name, "",
		playbook.Document{"batch": int64(st.Batch), "size": int64(len(chosen)), "nodes": names})
	return true
}

// choose picks up to size pending nodes by the stage's order, on fresh facts where it needs any. A node that is not
// there fails here, at its turn: its place by id, or, where facts that it cannot give decide the order, after the others.
func (p *Plan) choose(size int) ([]string, bool) {
	spec := p.stageSpec()
	key := p.decisionKey("batch")
	queue, gone := p.queue()
	byFacts := spec.Order.NeedsFacts() || spec.Order.NeedsAllNodes()
	if !byFacts {
		if err := p.sort(queue, spec.Order, nil); err != nil {
			return nil, p.undecided(key, "the order of stage "+spec.Name, nil, err)
		}
		queue = queue[:min(size, len(queue))]
	}
	var ask []string
	for _, n := range queue {
		if byFacts || p.rememberHealth() || n.rec.Absent {
			ask = append(ask, n.rec.Node)
		}
	}
	var seen *observation
	if len(ask) > 0 {
		if seen = p.observe(key, factsEvery, spec.Order.NeedsAllNodes(), ask...); seen == nil {
			return nil, false
		}
	}
	asked := make(map[string]bool, len(ask))
	for _, name := range ask {
		asked[name] = true
	}
	ready, missing := queue[:0], []*node(nil)
	for _, n := range queue {
		fact := seen.fact(n.rec.Node)
		switch {
		case fact != nil && fact.Status == record.StatusUnreachable:
			missing = append(missing, n)
		case fact == nil && asked[n.rec.Node]: // it came after the others were asked; its turn comes
		default:
			ready = append(ready, n)
		}
	}
	if byFacts {
		if err := p.sort(ready, spec.Order, seen); err != nil {
			return nil, p.undecided(key, "the order of stage "+spec.Name, nil, err)
		}
	}
	p.unobserve(key)
	p.decided(p.stage())
	if len(missing) > 0 && (!byFacts || len(ready) == 0) {
		for _, n := range missing {
			p.endNode(n, record.NodeFailed, &record.Error{
				Code:    record.CodeUnreachable,
				Message: fmt.Sprintf("its agent at %s did not answer when its turn came", n.fact.AgentURL),
			})
		}
		return nil, true // the budget is looked at before anything starts
	}
	if len(ready) == 0 && gone != nil {
		until := gone.rec.GoneTS.Add(p.grace())
		p.factsFor = fmt.Sprintf("node %s, whose key is gone: it counts as removed at %s", gone.rec.Node, until.Format(time.TimeOnly))
		if p.now.Before(until) {
			p.wakeAt(until, gone.rec.Node)
		}
		return nil, false
	}
	chosen := make([]string, 0, size)
	for _, n := range ready[:min(len(ready), size)] {
		if n.rec.Absent { // it has no key, but its agent answers
			n.rec.Absent = false
			p.mark(n)
		}
		chosen = append(chosen, n.rec.Node)
	}
	return chosen, true
}

// queue is the pending nodes by id, less those whose key is gone, of which it returns the one that is gone longest: the
// grace decides about them first.
func (p *Plan) queue() (queue []*node, gone *node) {
	for _, name := range p.pending {
		n := p.nodes[name]
		if n.rec.GoneTS == nil {
			queue = append(queue, n)
		} else if gone == nil || n.rec.GoneTS.Before(*gone.rec.GoneTS) {
			gone = n
		}
	}
	return queue, gone
}

// sort orders nodes, which are sorted by id, by what order says of each.
func (p *Plan) sort(nodes []*node, order *playbook.Expr, seen *observation) error {
	if order == nil {
		return nil
	}
	values := make(map[*node]any, len(nodes))
	for _, n := range nodes {
		value, err := order.Value(p.vars(n, seen))
		if err != nil {
			return fmt.Errorf("node %s: %w", n.rec.Node, err)
		}
		values[n] = value
	}
	var failed error
	slices.SortStableFunc(nodes, func(a, b *node) int {
		by, err := playbook.Compare(values[a], values[b])
		if err != nil {
			failed = err
		}
		return by
	})
	return failed
}

// rememberHealth tells whether the stage's gate wants to know how nodes were before.
func (p *Plan) rememberHealth() bool {
	health := p.stageSpec().Health
	return health != nil && health.Check == nil
}

// enter lets chosen nodes into the open batch, as many as one commit should hold.
func (p *Plan) enter() bool {
	st := p.stage()
	if len(p.entering) == 0 {
		return false
	}
	entered := false
	for len(p.entering) > 0 {
		if p.entries >= maxEntries {
			p.again = true
			break
		}
		n := p.nodes[p.entering[0]]
		p.entering = p.entering[1:]
		if !p.isPending(n) {
			continue
		}
		e := n.entryOf(p.stageSpec().Name)
		if e == nil {
			n.rec.Stages = append(n.rec.Stages, record.NodeStage{Name: p.stageSpec().Name, Pass: p.run.Pass, State: record.StagePending})
			e = &n.rec.Stages[len(n.rec.Stages)-1]
		}
		e.Batch = st.Batch
		if p.rememberHealth() {
			was := n.fact.Status == record.StatusHealthy
			e.WasHealthy = &was
		}
		p.setEntry(n, e, record.StageRunning, "")
		p.setNode(n, record.NodeRunning, "")
		n.member, n.over = true, false
		p.working++
		p.entries++
		p.touch(n)
		entered = true
	}
	return entered
}

// closeBatch ends the open batch: all its nodes have ended.
func (p *Plan) closeBatch() bool {
	st := p.stage()
	st.Open, st.GateTS, st.Size = false, nil, 0
	p.runDirty = true
	p.event(record.EventBatchFinished, "", p.stageSpec().Name, "", playbook.Document{"batch": int64(st.Batch)})
	if p.pending = p.stillPending(); len(p.pending) > 0 && p.stageSpec().Pause > 0 {
		until := p.now.Add(p.stageSpec().Pause)
		st.PauseUntil = &until
	}
	return true
}

// closeStage ends the stage in this pass and goes to the next.
func (p *Plan) closeStage() {
	st := p.stage()
	state := record.StageDone
	if p.stageFailures() > p.stageSpec().MaxFailures.Of(st.Total) {
		state = record.StageFailed
	}
	p.endStage(st, state)
	p.pending = nil
	p.run.StageIndex++
}

func (p *Plan) endStage(st *record.RunStage, state record.StageState) {
	st.State, st.Open, st.PauseUntil, st.GateTS, st.FactsUntil = state, false, nil, nil, nil
	ended := p.now
	st.EndTS = &ended
	p.runDirty = true
	p.event(record.EventStageFinished, "", st.Name, "", playbook.Document{"state": string(state)})
}

func (p *Plan) stageFailures() int {
	counts := p.stage().Counts
	return counts[record.NodeFailed] + counts[record.NodeUnknown]
}

// exceeded tells whether more nodes of the open stage have failed than it allows, or an operator has accepted.
func (p *Plan) exceeded() bool {
	if !p.started() || p.stageSpec().OnFailure == playbook.FailureContinue {
		return false
	}
	return p.stageFailures() > max(p.stageSpec().MaxFailures.Of(p.stage().Total), p.stage().Forgiven)
}

// overBudget does what the stage says about too many failures.
func (p *Plan) overBudget() bool {
	spec := p.stageSpec()
	message := fmt.Sprintf("stage %s: %s; max_failures is %d", spec.Name, p.failures(spec.Name), spec.MaxFailures.Of(p.stage().Total))
	if spec.OnFailure == playbook.FailurePause {
		p.pauseFor(record.CodeMaxFailures, message)
		return true
	}
	p.stage().Error = &record.Error{Code: record.CodeMaxFailures, Message: message}
	p.fail(record.CodeMaxFailures, message)
	return true
}

// failures says in plain words which nodes failed, of a stage or of the whole run, and why, for at most three.
func (p *Plan) failures(stage string) string {
	var failed []*node
	for _, name := range p.names {
		n := p.nodes[name]
		if n.rec.State != record.NodeFailed && n.rec.State != record.NodeUnknown {
			continue
		}
		if stage == "" || n.entryOf(stage) != nil {
			failed = append(failed, n)
		}
	}
	words := fmt.Sprintf("%d of %d nodes failed", len(failed), len(p.names))
	if len(failed) == 1 {
		words = fmt.Sprintf("1 of %d nodes failed", len(p.names))
	}
	for i, n := range failed[:min(3, len(failed))] {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		words += sep + n.rec.Node
		if n.rec.Error != nil {
			words += " (" + n.rec.Error.Message + ")"
		}
	}
	if len(failed) > 3 {
		words += fmt.Sprintf("; and %d more", len(failed)-3)
	}
	return words
}
