package policy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// tb is what a world needs of a test: *testing.T and *rapid.T have it.
type tb interface {
	Fatalf(format string, args ...any)
	Helper()
}

// world is a store, agents and time around one plan, without goroutines: tests decide what happens next. It checks, after
// every commit, what must always hold, and that a new leader would do exactly what this one is doing.
type world struct {
	t     tb
	now   time.Time
	spec  *playbook.Spec
	run   record.Run                // as committed
	nodes map[string]record.RunNode // as committed
	known map[string]record.Node
	facts map[string]record.Node // as the plan has them
	plan  *policy.Plan
	bytes int // of one commit; 0: as usual

	outstanding
	events   []record.Event
	started  map[string]bool // action IDs ever to be sent
	rejected *record.RejectedError
	resolved bool // an operator may have changed final states
	retried  bool // a retry may have taken them back
	killed   bool // the run was cancelled with kill, since its last retry
	approves bool // work approves whatever waits for it
	refused  policy.Refused
	guarded  map[policy.FactKey][]record.Node // the last answers by which a batch may be selected, and by which none was
	// unsettled are the nodes on which an action ever was.
	unsettled map[string]bool
	limits    map[string][]record.Node // what was reported for the next batches of a stage, with all nodes
}

// outstanding is what the effects so far have asked for and not taken back.
type outstanding struct {
	orders map[string]order // by node
	asked  map[policy.FactKey]policy.FactRequest
	locked map[string]bool // nodes that are locked for the run
	wake   *time.Time
	more   bool                     // the plan wants to continue at once
	others map[string]policy.Holder // nodes that other runs have locked
}

// order is what is to be done about a node's action.
type order struct {
	policy.ActionOrder
	Stop string // "" or why it is to be stopped
}

func nothing() outstanding {
	return outstanding{orders: map[string]order{}, asked: map[policy.FactKey]policy.FactRequest{}, locked: map[string]bool{},
		others: map[string]policy.Holder{}}
}

// execute takes effects in. It returns the answers to lock requests.
func (o *outstanding) execute(effects policy.Effects) (answers []policy.Input) {
	for _, node := range effects.UnlockNodes {
		delete(o.locked, node)
	}
	for _, node := range effects.AbandonActions {
		delete(o.orders, node)
	}
	for _, start := range effects.StartActions {
		o.orders[start.Node] = order{ActionOrder: start}
	}
	for _, stop := range effects.StopActions {
		o.orders[stop.Node] = order{stop.ActionOrder, stop.Code}
	}
	for _, key := range effects.CancelFacts {
		delete(o.asked, key)
	}
	for _, request := range effects.RequestFacts {
		o.asked[request.Key] = request
	}
	for _, request := range effects.LockNodes {
		answers = append(answers, o.lock(request))
	}
	o.wake, o.more = effects.WakeAt, effects.Continue
	return answers
}

func (o *outstanding) lock(request policy.LockRequest) policy.Input {
	held := map[string]policy.Holder{}
	if fit := o.fit(request); fit == 0 {
		return policy.OverLimit{LockRequest: request, Out: o.out(request.Limit)}
	} else {
		request.Nodes = request.Nodes[:fit]
	}
	for _, node := range request.Nodes {
		if holder, locked := o.others[node]; locked {
			held[node] = holder
		}
	}
	if len(held) > 0 {
		return policy.NotLocked{LockRequest: request, Holders: held}
	}
	for _, node := range request.Nodes {
		o.locked[node] = true
	}
	return policy.Locked{LockRequest: request}
}

func parse(t tb, text string) *playbook.Playbook {
	t.Helper()
	playbooks, err := playbook.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatalf("parse: %v\n%s", err, text)
	}
	return playbooks[0]
}

// newWorld has a queued run of the spec (YAML, indented by two) over nodes node-1…node-n, all there and HEALTHY.
func newWorld(t tb, n int, spec string) *world {
	t.Helper()
	p := parse(t, "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: test}\nspec:\n"+spec)
	w := &world{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), spec: p.Spec,
		nodes: map[string]record.RunNode{}, known: map[string]record.Node{}, facts: map[string]record.Node{}, started: map[string]bool{}, unsettled: map[string]bool{},
	}
	w.run = record.Run{
		ID: "run-1", Cluster: "c", State: record.RunPending, Term: 1, Rev: 1, Seq: 1, CommitID: "1.1", CreatedTS: w.now,
		Playbook: record.PlaybookCopy{Name: "test", Spec: p.Document}, Counts: map[record.NodeState]int{record.NodePending: n},
		Concurrency: p.Spec.Concurrency,
	}
	w.run.Stages = policy.NewStages(p.Spec)
	create := record.Commit{Run: w.run}
	if policy.AwaitApproval(&create, p.Spec) {
		w.run, w.events = create.Run, create.Events
	}
	for i := range n {
		name := fmt.Sprintf("node-%d", i+1)
		w.nodes[name] = record.RunNode{RunID: "run-1", Cluster: "c", Node: name, State: record.NodePending, Membership: record.MemberKnown}
		w.known[name] = w.alive(name)
	}
	w.load(false)
	return w
}

// withCommits is the world, whose plan writes so many bytes by one commit.
func (w *world) withCommits(bytes int) *world {
	w.bytes = bytes
	w.load(false)
	return w
}

func (w *world) alive(name string) record.Node {
	return record.Node{
		NodeID: name, ClusterID: "c", AgentURL: "http://" + name, JournalID: "j-" + name, Status: record.StatusHealthy, Present: true,
		Attributes: record.Document{"zone": string("abc"[int(name[len(name)-1])%3])},
	}
}

// load makes a plan of what is committed, as a leader does, with who is there.
func (w *world) load(claim bool) {
	if claim {
		w.run.Term++
		w.run.Rev++
	}
	plan := w.fresh(claim)
	others := w.others
	w.plan, w.outstanding = plan, nothing()
	if others != nil {
		w.others = others
	}
	for _, node := range policy.Busy(slices.Collect(maps.Values(w.nodes))) {
		w.locked[node] = true
	}
	commit, effects := plan.Resume(w.now)
	w.land(commit, effects)
	w.members(true)
}

// fresh is a plan of what is committed.
func (w *world) fresh(claim bool) *policy.Plan {
	nodes := make([]record.RunNode, 0, len(w.nodes))
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		nodes = append(nodes, clone(w.t, w.nodes[name]))
	}
	plan, err := policy.Load(policy.Config{Grace: 30 * time.Second, Claimed: claim, Refused: w.refused, CommitBytes: w.bytes}, clone(w.t, w.run), nodes,
		slices.Collect(maps.Values(w.facts)))
	if err != nil {
		w.t.Fatalf("load: %v", err)
	}
	return plan
}

func committedNodes(nodes map[string]record.RunNode, commit record.Commit) map[string]record.RunNode {
	nodes = maps.Clone(nodes)
	for _, n := range commit.Nodes {
		nodes[n.Node] = n
	}
	return nodes
}

// crash is kill -9 and a new leader: what must be in flight must be an effect again.
func (w *world) crash() {
	before := maps.Clone(w.orders)
	w.load(true)
	for node, p := range before {
		again, ok := w.orders[node]
		if !ok {
			w.t.Fatalf("after a crash nothing is done about %s; before: %+v", node, p)
		}
		if again.Action.ID != p.Action.ID || again.Stop != "" != (p.Stop != "") && !w.run.State.Final() {
			w.t.Fatalf("after a crash the order for %s is %+v; before: %+v", node, again, p)
		}
	}
}

// resumed checks that a new leader which reads what is committed would do exactly what this one is doing.
func (w *world) resumed() {
	w.t.Helper()
	if w.more || w.run.State == record.RunPending {
		return
	}
	plan, other := w.fresh(false), nothing()
	for _, node := range policy.Busy(slices.Collect(maps.Values(w.nodes))) {
		other.locked[node] = true
	}
	other.others = w.others
	commit, effects := plan.Resume(w.now)
	for {
		if !commit.Empty() && len(w.others) == 0 { // it may know more of other runs' locks
			w.t.Fatalf("a new leader would change the run at once:\n%s\n%s", cmp.Diff(w.run, clone(w.t, commit.Run))+
				cmp.Diff(w.nodes, committedNodes(w.nodes, commit)), w.story())
		}
		answers := other.execute(effects)
		if len(answers) == 0 {
			break
		}
		commit, effects, _ = plan.Apply(w.now, answers)
	}
	mine := w.outstanding
	if len(w.others) > 0 {
		mine.asked, mine.wake, other.asked, other.wake = nil, nil, nil, nil
	}
	for _, o := range []*outstanding{&mine, &other} {
		o.asked, o.orders = maps.Clone(o.asked), maps.Clone(o.orders)
		for node, order := range o.orders {
			order.Action = record.Action{ID: order.Action.ID} // its agent may have accepted it meanwhile
			o.orders[node] = order
		}
		for key, request := range o.asked {
			request.ID, request.Nodes = 0, nil // a node that came after the others were asked has its turn later
			o.asked[key] = request
		}
	}
	if diff := cmp.Diff(mine, other, cmp.AllowUnexported(outstanding{}), cmpopts.EquateEmpty()); diff != "" {
		w.t.Fatalf("a new leader would do something else (-this +new):\n%s\n%s", diff, w.story())
	}
}

func clone[T any](t tb, v T) T {
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	var out T
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("unmarshal: %v", err)
	}
	return out
}

func (w *world) members(complete bool, gone ...string) {
	in := policy.Members{Complete: complete, Gone: gone}
	if complete {
		for _, n := range w.known {
			if n.Present {
				in.Present = append(in.Present, n)
			}
		}
	}
	w.apply(in)
}

func (w *world) apply(inputs ...policy.Input) {
	w.rejected = nil
	for _, input := range inputs {
		w.note(input)
	}
	commit, effects, rejected := w.plan.Apply(w.now, inputs)
	for _, r := range rejected {
		w.rejected = r
	}
	for _, input := range inputs {
		if c, ok := input.(policy.Command); ok && w.rejected == nil {
			w.killed = c.Kill || w.killed && c.Verb != record.VerbRetry
		}
	}
	w.land(commit, effects)
}

// note keeps the facts that an input brings: a new leader has them from its inventory.
func (w *world) note(input policy.Input) {
	switch in := input.(type) {
	case policy.Members:
		for _, n := range in.Present {
			w.facts[n.NodeID] = n
		}
	case policy.Facts:
		for _, n := range in.Nodes {
			w.facts[n.NodeID] = n
		}
		w.noteGuard(in)
		w.noteLimit(in)
	}
}

// land takes a commit in and executes its effects, until the plan has nothing more to do at once.
func (w *world) land(commit record.Commit, effects policy.Effects) {
	for i := 0; ; i++ {
		if i > 1000 {
			w.t.Fatalf("the plan wants to continue forever")
		}
		answers := w.take(commit, effects)
		if len(answers) == 0 && !w.more {
			break
		}
		commit, effects, _ = w.plan.Apply(w.now, append(answers, policy.Tick{}))
	}
	w.checkPicksAtRest()
	w.resumed()
}

// take checks a commit and executes its effects.
func (w *world) take(commit record.Commit, effects policy.Effects) []policy.Input {
	w.t.Helper()
	if !commit.Empty() {
		if commit.After != w.run.CommitID || commit.Run.Rev != w.run.Rev+1 {
			w.t.Fatalf("commit %s follows %s at rev %d; the run is at %s, %d", commit.ID, commit.After, commit.Run.Rev, w.run.CommitID, w.run.Rev)
		}
		before := w.run
		spec := w.run.Playbook
		w.run = clone(w.t, commit.Run)
		w.run.Playbook = spec
		seq := before.Seq
		for _, e := range commit.Events {
			if seq++; e.Seq != seq {
				w.t.Fatalf("event %d follows %d", e.Seq, seq-1)
			}
			w.checkApproved(e)
			w.checkTogether(e)
			w.checkGuard(e)
			w.checkLimit(e)
			w.checkWindow(e)
			w.events = append(w.events, e)
		}
		if w.run.Seq != seq {
			w.t.Fatalf("the run's seq is %d, the last event's %d", w.run.Seq, seq)
		}
		w.checkPicks(before, commit.Nodes)
		for _, n := range commit.Nodes {
			w.moved(before, w.nodes[n.Node], n)
			w.nodes[n.Node] = clone(w.t, n)
		}
		w.check()
	}
	for _, start := range effects.StartActions {
		if _, locked := w.others[start.Node]; locked || !w.locked[start.Node] {
			w.t.Fatalf("%s is to act, and is not locked for the run", start.Node)
		}
		w.saved(start)
		w.started[start.Action.ID] = true
	}
	for _, stop := range effects.StopActions {
		w.saved(stop.ActionOrder)
	}
	return w.execute(effects)
}

// saved checks that an action is committed before anything is done about it.
func (w *world) saved(o policy.ActionOrder) {
	w.t.Helper()
	saved := w.nodes[o.Node]
	if len(saved.Actions) == 0 || saved.Actions[len(saved.Actions)-1].ID != o.Action.ID {
		w.t.Fatalf("action %s is ordered of %s, whose committed record has it not", o.Action.ID, o.Node)
	}
}

// moved checks one record's change.
func (w *world) moved(before record.Run, old, n record.RunNode) {
	// A removed node that is back begins as a newcomer.
	if old.State != "" && old.State.Final() && old.State != record.NodeRemoved && n.State != old.State && !w.resolved && !(w.retried && retriable[old.State]) && !afterOutcome(w.run) {
		w.t.Fatalf("%s went from %s to %s", n.Node, old.State, n.State)
	}
	if len(n.Actions) < len(old.Actions) {
		w.t.Fatalf("%s has lost actions", n.Node)
	}
	for i, a := range old.Actions {
		args := a.Args
		if slices.ContainsFunc(n.Actions[i+1:], func(later record.Action) bool { return later.Stage == a.Stage && later.Step == a.Step }) {
			args = nil // of an earlier attempt only state, error and times are kept
		}
		if n.Actions[i].ID != a.ID || n.Actions[i].AgentURL != a.AgentURL || !cmp.Equal(n.Actions[i].Args, args) {
			w.t.Fatalf("%s: a saved action has changed: %+v", n.Node, n.Actions[i])
		}
	}
	for _, a := range n.Actions[len(old.Actions):] {
		if len(old.Actions) > 0 {
			if last := old.Actions[len(old.Actions)-1]; last.State.InFlight() && n.Actions[len(old.Actions)-1].State.InFlight() || n.Actions[len(old.Actions)-1].Unsettled {
				w.t.Fatalf("%s starts %s beside %s, which is %s", n.Node, a.Step, last.Step, last.State)
			}
		}
		if afterOutcome(w.run) {
			w.movedAfterOutcome(before, n, a)
			continue
		}
		if before.Outcome != "" || !before.AfterTogether && before.State != record.RunRunning && before.State != record.RunPending && before.State != record.RunPaused && before.State != record.RunPausing {
			w.t.Fatalf("%s starts step %s although the run is %s (outcome %q)", n.Node, a.Step, before.State, before.Outcome)
		}
		for i := range w.spec.Stages {
			spec := &w.spec.Stages[i]
			failed, total, accepted := 0, 0, 0
			for _, st := range w.sinceRetry() {
				if st.Name == spec.Name && st.Pass != record.PassRollback {
					failed += st.Counts[record.NodeFailed] + st.Counts[record.NodeUnknown]
					total += st.Total
					accepted = max(accepted, st.AcceptedFailures)
				}
			}
			if spec.Name == a.Stage && !spec.Always && spec.OnFailure != playbook.FailureContinue &&
				failed > max(spec.MaxFailures.Of(total), accepted) {
				w.t.Fatalf("%s starts step %s although %d nodes of stage %s have failed", n.Node, a.Step, failed, spec.Name)
			}
		}
		if w.started[a.ID] {
			w.t.Fatalf("action %s is started again", a.ID)
		}
	}
}

// check is what must hold of every committed state.
func (w *world) check() {
	counts := map[record.NodeState]int{}
	type key struct {
		stage string
		pass  record.PassKind
		no    int
	}
	stages := map[key]map[record.NodeState]int{}
	unsettled, acting := 0, 0
	for _, n := range w.nodes {
		counts[n.State]++
		inFlight := 0
		for _, a := range n.Actions {
			if a.State.InFlight() {
				inFlight++
				acting++
			}
			if a.Unsettled {
				unsettled++
				w.unsettled[n.Node] = true
			}
		}
		if inFlight > 1 {
			w.t.Fatalf("%s has %d actions in flight", n.Node, inFlight)
		}
		if inFlight > 0 && n.State != record.NodeRunning {
			w.t.Fatalf("%s is %s with an action in flight", n.Node, n.State)
		}
		for i, e := range n.Stages {
			k := key{e.Name, e.Pass, w.recordOf(e)}
			if stages[k] == nil {
				stages[k] = map[record.NodeState]int{}
			}
			state := record.NodeState(e.State)
			if e.State.InBatch() {
				state = record.NodeRunning
			}
			stages[k][state]++
			w.checkEntry(n, i, inFlight > 0)
		}
	}
	if diff := cmp.Diff(counts, w.run.Counts); diff != "" {
		w.t.Fatalf("counts differ from the records (-records +run):\n%s", diff)
	}
	if unsettled != w.run.Unsettled {
		w.t.Fatalf("the run counts %d unsettled actions, its records %d", w.run.Unsettled, unsettled)
	}
	if ended := w.run.State.Final(); ended != (w.run.EndTS != nil) || (ended && unsettled == 0) != (w.run.FinishTS != nil) {
		w.t.Fatalf("the run is %s with %d unsettled actions, end_ts %v, finish_ts %v", w.run.State, unsettled, w.run.EndTS, w.run.FinishTS)
	}
	for _, st := range w.run.Stages {
		entries := stages[key{st.Name, st.Pass, st.PassNumber}]
		for state, n := range entries {
			if state != record.NodePending && (state != record.NodeNotReached || st.EndTS == nil) && st.Counts[state] != n {
				w.t.Fatalf("stage %s counts %v, its nodes %v", st.Name, st.Counts, entries)
			}
		}
		if total := 0; w.run.State.Final() {
			for _, n := range st.Counts {
				total += n
			}
			if total != st.Total {
				w.t.Fatalf("stage %s has ended with %v of %d nodes", st.Name, st.Counts, st.Total)
			}
		}
	}
	w.checkBatches()
	if w.run.State.Final() {
		for _, n := range w.nodes {
			if !n.State.Final() {
				w.t.Fatalf("the run has ended %s and %s is %s", w.run.State, n.Node, n.State)
			}
		}
		w.checkRollback()
		w.checkCleanup()
		if acting > 0 {
			w.t.Fatalf("the run has ended %s with actions in flight", w.run.State)
		}
	}
	if w.run.State == record.RunPaused && acting > 0 {
		w.t.Fatalf("the run is paused with actions in flight")
	}
}

// checkBatches checks that no more nodes are at work than the open batches may hold, and no more batches are open than at_once says.
func (w *world) checkBatches() {
	w.t.Helper()
	type place struct{ stage, group string }
	working := map[place]int{}
	for _, n := range w.nodes {
		if len(n.Stages) == 0 {
			continue
		}
		e := n.Stages[len(n.Stages)-1]
		if e.Pass == record.PassRollback { // see movedAfterOutcome
			continue
		}
		if e.State.InBatch() {
			working[place{e.Name, e.Group}]++
		}
		if by := w.stageSpec(e.Name).Groups; by != nil && by.By.String() == "node.attributes.zone" && e.State.InBatch() && e.Group != w.known[n.Node].Attributes["zone"] {
			w.t.Fatalf("%s is in group %q of stage %s", n.Node, e.Group, e.Name)
		}
	}
	for _, spec := range w.spec.Stages {
		total, batches, before, open, groups := 0, map[string]int{}, map[string]int{}, 0, 1
		for _, st := range w.sinceRetry() {
			if st.Name != spec.Name || st.Pass == record.PassRollback {
				continue
			}
			total += st.Total
			for _, g := range st.Groups {
				batches[g.Key] += g.Batch - g.LadderFrom
				before[g.Key] += g.LadderFrom
				if g.State != record.GroupIdle {
					open++
					groups = len(st.Groups)
				}
			}
		}
		atOnce := 1
		if spec.Groups != nil {
			atOnce = max(1, spec.Groups.AtOnce.Of(groups))
		}
		if open > atOnce {
			w.t.Fatalf("stage %s has %d open batches at once; it may have %d", spec.Name, open, atOnce)
		}
		for key, batch := range batches {
			if batch == 0 { // one that was open before the ladder began again
				batch = before[key]
			}
			size := 0
			if batch > 0 {
				size = max(1, spec.Batch[min(batch, len(spec.Batch))-1].Of(total))
			}
			if at := working[place{spec.Name, key}]; at > size {
				w.t.Fatalf("stage %s has %d nodes at work in group %q; its batch %d may hold %d", spec.Name, at, key, batch, size)
			}
		}
	}
}

func (w *world) stageSpec(name string) *playbook.Stage {
	for i := range w.spec.Stages {
		if w.spec.Stages[i].Name == name {
			return &w.spec.Stages[i]
		}
	}
	w.t.Fatalf("there is no stage %s", name)
	return nil
}

// recordOf is the number of the pass in whose record an entry is counted: ended passes of newcomers share one.
func (w *world) recordOf(e record.NodeStage) int {
	for _, st := range w.run.Stages {
		if st.Name == e.Name && st.Pass == e.Pass && st.PassNumber >= e.PassNumber {
			return st.PassNumber
		}
	}
	return e.PassNumber
}

// checkEntry is what must hold of the state of a node in a stage.
func (w *world) checkEntry(n record.RunNode, i int, inFlight bool) {
	e := n.Stages[i]
	if e.State.InBatch() && (i != len(n.Stages)-1 || n.State != record.NodeRunning) {
		w.t.Fatalf("%s is %s and its entry %d of %d is %s", n.Node, n.State, i+1, len(n.Stages), e.State)
	}
	if i == len(n.Stages)-1 && (e.State == record.NodeStageActing) != inFlight {
		w.t.Fatalf("%s is %s in stage %s; an action in flight: %t", n.Node, e.State, e.Name, inFlight)
	}
	if n.State == record.NodeRunning && i == len(n.Stages)-1 && !e.State.InBatch() {
		w.t.Fatalf("%s is RUNNING and %s in stage %s", n.Node, e.State, e.Name)
	}
	waits := e.State == record.NodeStageBackoff || e.State == record.NodeStageSettling || e.State == record.NodeStageVerifying
	mayWait := waits || e.State == record.NodeStagePending || e.State == record.NodeStageReady
	if waits && e.Waiting == nil || !mayWait && e.Waiting != nil {
		w.t.Fatalf("%s is %s in stage %s and waits for %+v", n.Node, e.State, e.Name, e.Waiting)
	}
}

// pass lets d go by, waking the plan when it wants.
func (w *world) pass(d time.Duration) {
	end := w.now.Add(d)
	for i := 0; w.wake != nil && !w.wake.After(end); i++ {
		if i > 10_000 {
			w.t.Fatalf("the plan wants to be woken forever, now at %s", w.wake)
		}
		if w.wake.After(w.now) {
			w.now = *w.wake
		}
		w.apply(policy.Tick{})
	}
	w.now = end
}

// observe answers everything that was asked, as the nodes are.
func (w *world) observe() {
	for _, request := range w.requests() {
		w.apply(w.answer(request))
	}
}

// requests are the outstanding requests for facts, in a fixed order.
func (w *world) requests() []policy.FactRequest {
	return slices.SortedFunc(maps.Values(w.asked), func(a, b policy.FactRequest) int {
		return strings.Compare(fmt.Sprint(a.Key), fmt.Sprint(b.Key))
	})
}

// answer is how the nodes are now.
func (w *world) answer(request policy.FactRequest) policy.Facts {
	names := request.Nodes
	if request.All {
		names = slices.Sorted(maps.Keys(w.known))
	}
	in := policy.Facts{Key: request.Key, ID: request.ID}
	for _, name := range names {
		fact := w.known[name]
		if fact.NodeID == "" {
			fact = record.Node{NodeID: name, ClusterID: "c", Status: record.StatusUnreachable}
		}
		in.Nodes = append(in.Nodes, fact)
	}
	return in
}

// end ends the node's action.
func (w *world) end(node string, state record.ActionState, code string) {
	p, ok := w.orders[node]
	if !ok {
		w.t.Fatalf("nothing is done about %s", node)
	}
	in := policy.Ended{Node: node, ActionID: p.Action.ID, State: state}
	if code != "" {
		in.Error = &record.Error{Code: code, Message: "it said " + code}
	}
	delete(w.orders, node)
	w.apply(in)
}

// endAll ends several actions at once, as they wait in a mailbox.
func (w *world) endAll(states map[string]record.ActionState) {
	var inputs []policy.Input
	for _, node := range slices.Sorted(maps.Keys(states)) {
		in := policy.Ended{Node: node, ActionID: w.orders[node].Action.ID, State: states[node]}
		if in.State != record.ActionDone {
			in.Error = &record.Error{Code: record.CodeExit, Message: "it said exit"}
		}
		delete(w.orders, node)
		inputs = append(inputs, in)
	}
	w.apply(inputs...)
}

// work ends every action DONE and answers every request for facts until the run ends or nothing moves.
func (w *world) work() {
	for i := 0; !w.run.State.Final() && w.step(); i++ {
		if i > 5000 {
			w.t.Fatalf("the run does not end: %s, waiting %+v\n%s", w.run.State, w.run.Waiting, w.story())
		}
	}
}

// step ends an action DONE, answers every request for facts or lets time pass. It is false where nothing moves.
func (w *world) step() bool {
	if w.approves && w.run.Waiting != nil && w.run.Waiting.For == record.WaitApproval {
		w.apply(command(record.VerbApprove))
		return w.run.State != record.RunPending
	}
	if names := slices.Sorted(maps.Keys(w.orders)); len(names) > 0 {
		w.end(names[0], record.ActionDone, "")
	} else if len(w.asked) > 0 {
		w.observe()
		w.pass(2 * time.Second)
	} else if w.wake != nil {
		w.pass(max(0, w.wake.Sub(w.now)))
	} else {
		return false
	}
	return true
}

// story is the events in plain lines.
func (w *world) story() string {
	var b strings.Builder
	for _, e := range w.events {
		fmt.Fprintf(&b, "%s", e.Type)
		for _, word := range []string{e.Node, e.Stage, e.Step} {
			if word != "" {
				fmt.Fprintf(&b, " %s", word)
			}
		}
		for _, key := range []string{"batch", "nodes", "state", "code", "for"} {
			if value, ok := e.Data[key]; ok {
				fmt.Fprintf(&b, " %s=%v", key, value)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (w *world) want(node string, state record.NodeState) {
	w.t.Helper()
	if got := w.nodes[node].State; got != state {
		w.t.Fatalf("%s is %s, want %s\n%s", node, got, state, w.story())
	}
}

func (w *world) ended(state record.RunState) {
	w.t.Helper()
	if w.run.State != state {
		w.t.Fatalf("the run is %s (error %+v, waiting %+v), want %s\n%s", w.run.State, w.run.Error, w.run.Waiting, state, w.story())
	}
}

var _ tb = (*testing.T)(nil)
