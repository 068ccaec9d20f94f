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

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// testing is what a world needs of a test: *testing.T and *rapid.T have it.
type tb interface {
	Fatalf(format string, args ...any)
	Helper()
}

// world is a store, agents and time around one plan, without goroutines: tests decide what happens next. It checks, at
// every commit, what must always hold.
type world struct {
	t     tb
	now   time.Time
	spec  *playbook.Spec
	run   record.Run                // as committed
	nodes map[string]record.RunNode // as committed
	known map[string]record.Node
	plan  *policy.Plan
	held  map[string]bool // reservations

	pursuits map[string]policy.Pursuit // by node
	asked    map[string]policy.Observation
	wake     time.Time
	again    bool
	events   []record.Event
	started  map[string]bool // action IDs ever wanted sent
	refusal  *record.RejectedError
	resolved bool // an operator may have changed final states
}

func parse(t tb, text string) *playbook.Playbook {
	t.Helper()
	playbooks, err := playbook.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatalf("parse: %v\n%s", err, text)
	}
	if problems := playbook.Unsupported(playbooks[0]); len(problems) > 0 {
		t.Fatalf("unsupported: %v", problems)
	}
	return playbooks[0]
}

// newWorld has a queued run of the spec (YAML, indented by two) over nodes node-1…node-n, all there and HEALTHY.
func newWorld(t tb, n int, spec string) *world {
	t.Helper()
	p := parse(t, "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: test}\nspec:\n"+spec)
	w := &world{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), spec: p.Spec,
		nodes: map[string]record.RunNode{}, known: map[string]record.Node{}, started: map[string]bool{},
	}
	w.run = record.Run{
		ID: "run-1", Cluster: "c", State: record.RunPending, Term: 1, Rev: 1, Seq: 1, CommitID: "1.1", CreatedTS: w.now,
		Playbook: record.PlaybookCopy{Name: "test", Spec: p.Document}, Counts: map[record.NodeState]int{record.NodePending: n},
		Concurrency: p.Spec.Concurrency,
	}
	for _, stage := range p.Spec.Stages {
		w.run.Stages = append(w.run.Stages, record.RunStage{Name: stage.Name, State: record.StagePending})
	}
	for i := range n {
		name := fmt.Sprintf("node-%d", i+1)
		w.nodes[name] = record.RunNode{RunID: "run-1", Cluster: "c", Node: name, State: record.NodePending, Membership: record.MemberKnown}
		w.known[name] = w.alive(name)
	}
	w.load(false)
	return w
}

func (w *world) alive(name string) record.Node {
	return record.Node{
		NodeID: name, ClusterID: "c", AgentURL: "http://" + name, JournalID: "j-" + name, Status: record.StatusHealthy, Present: true,
	}
}

// load makes a plan of what is committed, as a leader does, with who is there.
func (w *world) load(claim bool) {
	if claim {
		w.run.Term++
		w.run.Rev++
	}
	w.held = map[string]bool{}
	w.pursuits, w.asked = map[string]policy.Pursuit{}, map[string]policy.Observation{}
	plan, err := policy.Load(policy.Config{
		Grace: 30 * time.Second, Claimed: claim,
		Reserve: func(node string) (policy.Holder, bool) { w.held[node] = true; return policy.Holder{}, true },
	}, clone(w.t, w.run), slices.Collect(func(yield func(record.RunNode) bool) {
		for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
			if !yield(clone(w.t, w.nodes[name])) {
				return
			}
		}
	}), slices.Collect(maps.Values(w.known)))
	if err != nil {
		w.t.Fatalf("load: %v", err)
	}
	w.plan = plan
	commit, wants := plan.Resume(w.now)
	w.land(commit, wants)
	w.members(true)
}

// crash is kill -9 and a new leader: what must be in flight must be wanted again.
func (w *world) crash() {
	before := maps.Clone(w.pursuits)
	w.load(true)
	for node, p := range before {
		again, ok := w.pursuits[node]
		if !ok {
			w.t.Fatalf("after a crash nothing is wanted of %s; before: %+v", node, p)
		}
		if again.Action.ID != p.Action.ID || again.Cancel != "" != (p.Cancel != "") && w.run.FinishTS == nil {
			w.t.Fatalf("after a crash %s wants %+v; before: %+v", node, again, p)
		}
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
	w.refusal = nil
	commit, wants, refused := w.plan.Apply(w.now, inputs)
	for _, refusal := range refused {
		w.refusal = refusal
	}
	w.land(commit, wants)
	for i := 0; w.again; i++ {
		if i > 1000 {
			w.t.Fatalf("the plan wants to go on for ever")
		}
		commit, wants, _ := w.plan.Apply(w.now, []policy.Input{policy.Tick{}})
		w.land(commit, wants)
	}
}

// land takes a commit in, checks it, and follows the wants.
func (w *world) land(commit record.Commit, wants policy.Wants) {
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
			w.events = append(w.events, e)
		}
		if w.run.Seq != seq {
			w.t.Fatalf("the run's seq is %d, the last event's %d", w.run.Seq, seq)
		}
		for _, n := range commit.Nodes {
			w.moved(before, w.nodes[n.Node], n)
			w.nodes[n.Node] = clone(w.t, n)
		}
		w.check()
	}
	for _, key := range wants.Forget {
		delete(w.asked, key)
	}
	for _, o := range wants.Observe {
		w.asked[o.Key] = o
	}
	for _, p := range wants.Actions {
		if p.Action.ID == "" {
			delete(w.pursuits, p.Node)
			continue
		}
		saved := w.nodes[p.Node]
		if len(saved.Actions) == 0 || saved.Actions[len(saved.Actions)-1].ID != p.Action.ID {
			w.t.Fatalf("action %s is wanted of %s, which has it not in its committed record", p.Action.ID, p.Node)
		}
		w.started[p.Action.ID] = true
		w.pursuits[p.Node] = p
	}
	for _, node := range wants.Release {
		delete(w.held, node)
	}
	w.wake, w.again = wants.Wake, wants.Again
}

// moved checks one record's change.
func (w *world) moved(before record.Run, old, n record.RunNode) {
	// A removed node that is back begins anew, as one that appears.
	if old.State != "" && old.State.Final() && old.State != record.NodeRemoved && n.State != old.State && !w.resolved {
		w.t.Fatalf("%s went from %s to %s", n.Node, old.State, n.State)
	}
	if len(n.Actions) < len(old.Actions) {
		w.t.Fatalf("%s has lost actions", n.Node)
	}
	for i, a := range old.Actions {
		if n.Actions[i].ID != a.ID || n.Actions[i].AgentURL != a.AgentURL || !cmp.Equal(n.Actions[i].Args, a.Args) {
			w.t.Fatalf("%s: a saved action has changed: %+v", n.Node, n.Actions[i])
		}
	}
	for _, a := range n.Actions[len(old.Actions):] {
		if len(old.Actions) > 0 {
			if last := old.Actions[len(old.Actions)-1]; last.State.InFlight() && n.Actions[len(old.Actions)-1].State.InFlight() || n.Actions[len(old.Actions)-1].Unsettled {
				w.t.Fatalf("%s starts %s beside %s, which is %s", n.Node, a.Step, last.Step, last.State)
			}
		}
		if before.Verdict != "" || before.State != record.RunRunning && before.State != record.RunPending && before.State != record.RunPaused && before.State != record.RunPausing {
			w.t.Fatalf("%s starts step %s although the run is %s (verdict %q)", n.Node, a.Step, before.State, before.Verdict)
		}
		for i, st := range w.run.Stages {
			spec := &w.spec.Stages[i]
			failed := st.Counts[record.NodeFailed] + st.Counts[record.NodeUnknown]
			if st.Name == a.Stage && spec.OnFailure != playbook.FailureContinue &&
				failed > max(spec.MaxFailures.Of(st.Total), st.Forgiven) {
				w.t.Fatalf("%s starts step %s although %d nodes of stage %s have failed", n.Node, a.Step, failed, st.Name)
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
	stages := map[string]map[record.NodeState]int{}
	working, unsettled := map[string]int{}, 0
	for _, n := range w.nodes {
		counts[n.State]++
		inFlight := 0
		for _, a := range n.Actions {
			if a.State.InFlight() {
				inFlight++
				working[a.Stage]++
			}
			if a.Unsettled {
				unsettled++
			}
		}
		if inFlight > 1 {
			w.t.Fatalf("%s has %d actions in flight", n.Node, inFlight)
		}
		if inFlight > 0 && n.State != record.NodeRunning {
			w.t.Fatalf("%s is %s with an action in flight", n.Node, n.State)
		}
		for _, e := range n.Stages {
			if stages[e.Name] == nil {
				stages[e.Name] = map[record.NodeState]int{}
			}
			state := record.NodeState(e.State)
			if e.State == record.StageChecking {
				state = record.NodeRunning
			}
			stages[e.Name][state]++
		}
	}
	if diff := cmp.Diff(counts, w.run.Counts); diff != "" {
		w.t.Fatalf("counts differ from the records (-records +run):\n%s", diff)
	}
	if unsettled != w.run.Unsettled {
		w.t.Fatalf("the run counts %d unsettled actions, its records %d", w.run.Unsettled, unsettled)
	}
	for i, st := range w.run.Stages {
		for state, n := range stages[st.Name] {
			if state != record.NodePending && (state != record.NodeNotReached || w.run.FinishTS == nil) && st.Counts[state] != n {
				w.t.Fatalf("stage %s counts %v, its nodes %v", st.Name, st.Counts, stages[st.Name])
			}
		}
		if total := 0; w.run.FinishTS != nil {
			for _, n := range st.Counts {
				total += n
			}
			if total != st.Total {
				w.t.Fatalf("stage %s has ended with %v of %d nodes", st.Name, st.Counts, st.Total)
			}
		}
		size := 0
		if st.Batch > 0 {
			amounts := w.spec.Stages[i].Batch
			size = max(1, amounts[min(st.Batch, len(amounts))-1].Of(st.Total))
		}
		if working[st.Name] > size {
			w.t.Fatalf("stage %s has %d nodes at work; its batch %d may hold %d", st.Name, working[st.Name], st.Batch, size)
		}
	}
	if w.run.FinishTS != nil {
		for _, n := range w.nodes {
			if !n.State.Final() {
				w.t.Fatalf("the run has ended %s and %s is %s", w.run.State, n.Node, n.State)
			}
		}
		if len(working) > 0 {
			w.t.Fatalf("the run has ended %s with actions in flight", w.run.State)
		}
	}
	if w.run.State == record.RunPaused && len(working) > 0 {
		w.t.Fatalf("the run is paused with actions in flight")
	}
}

// pass lets d go by, waking the plan when it wants.
func (w *world) pass(d time.Duration) {
	end := w.now.Add(d)
	for i := 0; !w.wake.IsZero() && !w.wake.After(end); i++ {
		if i > 10_000 {
			w.t.Fatalf("the plan wants to be woken for ever, now at %s", w.wake)
		}
		if w.wake.After(w.now) {
			w.now = w.wake
		}
		w.apply(policy.Tick{})
	}
	w.now = end
}

// observe answers everything that was asked, as the nodes are.
func (w *world) observe() {
	for _, key := range slices.Sorted(maps.Keys(w.asked)) {
		o := w.asked[key]
		names := o.Nodes
		if names == nil {
			names = slices.Sorted(maps.Keys(w.known))
		}
		in := policy.Observed{Key: key, Ask: o.Ask}
		for _, name := range names {
			fact := w.known[name]
			if fact.NodeID == "" {
				fact = record.Node{NodeID: name, ClusterID: "c", Status: record.StatusUnreachable}
			}
			in.Facts = append(in.Facts, fact)
		}
		w.apply(in)
	}
}

// end answers the node's pursuit.
func (w *world) end(node string, state record.ActionState, code string) {
	p, ok := w.pursuits[node]
	if !ok {
		w.t.Fatalf("nothing is wanted of %s", node)
	}
	in := policy.Ended{Node: node, ActionID: p.Action.ID, State: state}
	if code != "" {
		in.Error = &record.Error{Code: code, Message: "it said " + code}
	}
	delete(w.pursuits, node)
	w.apply(in)
}

// endAll answers several pursuits at once, as they wait in a mailbox.
func (w *world) endAll(states map[string]record.ActionState) {
	var inputs []policy.Input
	for _, node := range slices.Sorted(maps.Keys(states)) {
		in := policy.Ended{Node: node, ActionID: w.pursuits[node].Action.ID, State: states[node]}
		if in.State != record.ActionDone {
			in.Error = &record.Error{Code: record.CodeExit, Message: "it said exit"}
		}
		delete(w.pursuits, node)
		inputs = append(inputs, in)
	}
	w.apply(inputs...)
}

// work ends every action DONE and answers every observation until the run ends or nothing moves.
func (w *world) work() {
	for i := 0; w.run.FinishTS == nil; i++ {
		if i > 5000 {
			w.t.Fatalf("the run does not end: %s, waits for %q\n%s", w.run.State, w.run.WaitsFor, w.story())
		}
		if names := slices.Sorted(maps.Keys(w.pursuits)); len(names) > 0 {
			w.end(names[0], record.ActionDone, "")
		} else if len(w.asked) > 0 {
			w.observe()
			w.pass(2 * time.Second)
		} else if !w.wake.IsZero() {
			w.pass(max(0, w.wake.Sub(w.now)))
		} else {
			return
		}
	}
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
		for _, key := range []string{"batch", "nodes", "state", "code", "waits_for"} {
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
	if w.run.State != state || w.run.FinishTS == nil {
		w.t.Fatalf("the run is %s (error %+v, waits for %q), want %s\n%s", w.run.State, w.run.Error, w.run.WaitsFor, state, w.story())
	}
}

var _ tb = (*testing.T)(nil)
