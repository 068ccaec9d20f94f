package controller_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/controller"
	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/storetest"
)

// fleet is the agents of a test, in memory and in the test's time: an action takes its args.delay, and fails with
// args.fail. It keeps what really started.
type fleet struct {
	mu      sync.Mutex
	term    int64
	agents  map[string]*fakeAgent
	down    map[string]bool  // refuses connections
	fails   map[string]bool  // its actions fail
	wild    map[string]int64 // it refuses everything for having seen this term
	payload map[string]string
	changed chan struct{} // closed and replaced whenever an action ends

	kinds      map[string][]string // of actions that it knows, if it reports any
	hangs      map[string]bool     // it does not answer which
	kindsAsked int

	downtime   time.Duration        // how long a node is UNHEALTHY after an action on it has ended; 0: it never is
	latency    func() time.Duration // of answers about nodes; nil: none
	outAtOnce  int                  // nodes that were acted on or UNHEALTHY at the same time, at most
	startOrder []string             // the nodes on which actions started, in order
}

// outNow are the nodes that are acted on, or not HEALTHY yet after it. The caller holds mu.
func (f *fleet) outNow() map[string]bool {
	out := map[string]bool{}
	for url, a := range f.agents {
		for _, action := range a.actions {
			if f.downtime > 0 && time.Now().Before(action.ends.Add(f.downtime)) {
				out[url] = true
			}
		}
	}
	return out
}

type fakeAgent struct {
	actions map[string]*fakeAction
	starts  []string // "step", in order
}

type fakeAction struct {
	request wire.ActionRequest
	state   wire.State
	ends    time.Time
}

func newFleet() *fleet {
	return &fleet{agents: map[string]*fakeAgent{}, down: map[string]bool{}, fails: map[string]bool{}, wild: map[string]int64{},
		payload: map[string]string{}, kinds: map[string][]string{}, hangs: map[string]bool{}, changed: make(chan struct{})}
}

func (f *fleet) agent(ctx context.Context, url string) (*fakeAgent, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if f.down[url] {
		return nil, fmt.Errorf("%w: connection refused", wire.ErrNotSent)
	}
	if f.agents[url] == nil {
		f.agents[url] = &fakeAgent{actions: map[string]*fakeAction{}}
	}
	return f.agents[url], nil
}

func (f *fleet) fence(url string, metadata map[string]string) error {
	if term, wild := f.wild[url]; wild {
		return &wire.Fenced{Reason: wire.FencedTerm, Message: "stale", Term: term}
	}
	term, _ := strconv.ParseInt(metadata[wire.MetaTerm], 10, 64)
	if term < f.term {
		return &wire.Fenced{Reason: wire.FencedTerm, Message: "stale", Term: f.term}
	}
	f.term = term
	return nil
}

func (f *fleet) Post(ctx context.Context, url string, request wire.ActionRequest, _ time.Duration) (wire.Action, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, err := f.agent(ctx, url)
	if err != nil {
		return wire.Action{}, err
	}
	if err := f.fence(url, request.Metadata); err != nil {
		return wire.Action{}, err
	}
	if a.actions[request.ID] != nil {
		return wire.Action{}, wire.ErrExists
	}
	var args struct{ Delay string }
	_ = json.Unmarshal(request.Args, &args)
	delay, _ := time.ParseDuration(args.Delay)
	action := &fakeAction{request: request, state: wire.State{Phase: wire.PhaseRunning}, ends: time.Now().Add(delay)}
	a.actions[request.ID] = action
	a.starts = append(a.starts, request.ID)
	f.startOrder = append(f.startOrder, strings.TrimPrefix(url, "http://"))
	f.outAtOnce = max(f.outAtOnce, len(f.outNow()))
	time.AfterFunc(delay, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if action.state.Phase == wire.PhaseRunning {
			action.state.Phase, action.state.Payload = wire.PhaseDone, json.RawMessage(f.payload[url])
			if f.fails[url] {
				action.state.Phase = wire.PhaseFailed
				action.state.Error = json.RawMessage(`{"code":"exit","message":"exit status 1"}`)
			}
		}
		f.signal()
	})
	return wire.Action{ID: request.ID}, nil
}

func (f *fleet) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fleet) Get(ctx context.Context, url, id string, wait time.Duration) (wire.Action, error) {
	timeout := time.After(wait)
	for {
		f.mu.Lock()
		a, err := f.agent(ctx, url)
		if err != nil {
			f.mu.Unlock()
			return wire.Action{}, err
		}
		action := a.actions[id]
		if action == nil {
			f.mu.Unlock()
			return wire.Action{}, wire.ErrNotFound
		}
		answer := wire.Action{ID: id, Kind: action.request.Kind, State: action.state}
		changed := f.changed
		f.mu.Unlock()
		if answer.State.Phase.Ended() || wait == 0 {
			return answer, nil
		}
		select {
		case <-changed:
		case <-timeout:
			return answer, nil
		case <-ctx.Done():
			return wire.Action{}, ctx.Err()
		}
	}
}

func (f *fleet) Cancel(ctx context.Context, url, id string, request wire.CancelRequest) (wire.CancelAnswer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, err := f.agent(ctx, url)
	if err != nil {
		return wire.CancelAnswer{}, err
	}
	if err := f.fence(url, request.Metadata); err != nil {
		return wire.CancelAnswer{}, err
	}
	action := a.actions[id]
	if action == nil {
		action = &fakeAction{state: wire.State{Phase: wire.PhaseFailed, Error: json.RawMessage(`{"code":"never_started","message":"cancelled before it came"}`)}}
		a.actions[id] = action
	} else if request.Kill && action.state.Phase == wire.PhaseRunning {
		action.state.Phase = wire.PhaseFailed
		action.state.Error = json.RawMessage(`{"code":"` + request.Code + `","message":"killed"}`)
		f.signal()
	}
	return wire.CancelAnswer{ID: id, State: action.state}, nil
}

func (f *fleet) NodeInfo(ctx context.Context, url string) (wire.NodeInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.agent(ctx, url); err != nil {
		return wire.NodeInfo{}, err
	}
	status := wire.FormatStatus("HEALTHY", "")
	if f.outNow()[url] {
		status = wire.FormatStatus("UNHEALTHY", "it starts")
	}
	if f.latency != nil {
		latency := f.latency()
		f.mu.Unlock()
		time.Sleep(latency)
		f.mu.Lock()
	}
	return wire.NodeInfo{NodeID: strings.TrimPrefix(url, "http://"), NodeStatus: status, Role: "SECONDARY"}, nil
}

func (f *fleet) StoreInfo(context.Context, string) (wire.StoreInfo, error) {
	return wire.StoreInfo{}, errors.New("no store")
}

func (f *fleet) ShardsInfo(context.Context, string) (wire.ShardsInfo, error) {
	return wire.ShardsInfo{}, nil
}

// ActionsInfo is what the agent reports, if it is one of ours.
func (f *fleet) ActionsInfo(ctx context.Context, url string) (wire.ActionsInfo, error) {
	f.mu.Lock()
	kinds, hangs := f.kinds[url], f.hangs[url]
	f.kindsAsked++
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return wire.ActionsInfo{}, ctx.Err()
	}
	if kinds == nil {
		return wire.ActionsInfo{}, errors.New("status 404")
	}
	return wire.ActionsInfo{Kinds: kinds}, nil
}

// starts counts, by action ID, how often agents started it; and by node.
func (f *fleet) starts() (byID map[string]int, byNode map[string]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	byID, byNode = map[string]int{}, map[string]int{}
	for url, a := range f.agents {
		for _, id := range a.starts {
			byID[id]++
			byNode[strings.TrimPrefix(url, "http://")]++
		}
	}
	return byID, byNode
}

// installation is a store, agents, members, and the controllers that lead one after the other.
type installation struct {
	t       testing.TB
	store   store.Store
	memory  *storetest.Memory // the store, where it is not another one
	fleet   *fleet
	nodes   []string
	keys    map[string][]string // the kinds that keys report
	join    chan membership.Update
	current *controller.Controller
	aside   []record.NodeKey // set aside by the next leader
	wall    func() time.Time // of the next leader; nil: the clock of its term
	wrap    func(store.Store) store.Store
	log     hclog.Logger // of the next leader
	// scheduleResult is told what became of due times under the next leader.
	scheduleResult func(state record.FiringState, code string)
	stop           context.CancelFunc
	ended          chan error
}

func newInstallation(t testing.TB, nodes int, spec string) *installation {
	memory := storetest.NewMemory()
	h := newInstallationOn(t, memory, nodes, spec)
	h.memory = memory
	return h
}

func newInstallationOn(t testing.TB, primary store.Store, nodes int, spec string) *installation {
	h := &installation{t: t, store: primary, fleet: newFleet(), log: hclog.NewNullLogger(), join: make(chan membership.Update)}
	for i := range nodes {
		h.nodes = append(h.nodes, fmt.Sprintf("node-%d", i+1))
	}
	h.apply("test", spec)
	return h
}

func (h *installation) apply(name, spec string) {
	h.t.Helper()
	parsed, err := playbook.Parse(name, []byte("apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: "+name+"}\nspec:\n"+spec))
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.applyDocuments(record.Documents{Playbooks: []record.Playbook{{Name: name, Spec: parsed[0].Document, Digest: name}}}); err != nil {
		h.t.Fatal(err)
	}
}

// applyDocuments stores documents in the latest term.
func (h *installation) applyDocuments(documents record.Documents) error {
	latest, err := h.store.Term(h.t.Context())
	if err != nil {
		return err
	}
	_, err = h.store.Apply(h.t.Context(), latest.Term, documents, nil, nil)
	return err
}

// lead starts a new leader, as a takeover does, and returns its term.
func (h *installation) lead() int64 {
	h.t.Helper()
	term, err := h.store.BeginTerm(h.t.Context(), 0)
	if err != nil {
		h.t.Fatal(err)
	}
	h.leadAs(term)
	for range 10_000 { // ms: claims that fail are repeated
		if _, err := h.current.Command(h.t.Context(), record.Request{}, "nosuch", record.Command{}); !errors.Is(err, controller.ErrNotLeading) {
			return term.Term
		}
		time.Sleep(time.Millisecond)
	}
	h.t.Fatal("it takes no commands")
	return 0
}

func (h *installation) leadAs(term record.Term) {
	var leads store.Store = h.store
	if h.wrap != nil {
		leads = h.wrap(leads)
	}
	h.current = controller.New(controller.Config{
		Store: leads, Agents: h.fleet, Grace: 30 * time.Second, ForgetAfter: 72 * time.Hour, Log: h.log,
		SetAside: h.aside, Wall: h.wall, ScheduleResult: h.scheduleResult,
		Watch: func(ctx context.Context, deliver func(membership.Update) error) error {
			update := membership.Update{Complete: true}
			for _, name := range h.nodes {
				update.Changes = append(update.Changes, h.key(name))
			}
			for {
				if err := deliver(update); err != nil {
					return err
				}
				select {
				case update = <-h.join:
				case <-ctx.Done():
					return nil
				}
			}
		},
	})
	ctx, stop := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	h.stop, h.ended = stop, ended
	leader := h.current
	go func() { ended <- leader.Run(ctx, term) }()
}

func (h *installation) key(name string) membership.Change {
	return membership.Change{Node: membership.Node{NodeID: name, ClusterID: "c", AgentURL: "http://" + name, JournalID: "j", Kinds: h.keys[name]}}
}

// kill ends the leader, whatever it is doing.
func (h *installation) kill() {
	h.stop()
	<-h.ended
}

func (h *installation) start(request record.Request, start record.RunRequest) record.Run {
	h.t.Helper()
	start.Cluster = "c"
	if start.Playbook == "" {
		start.Playbook = "test"
	}
	run, err := h.current.Start(h.t.Context(), request, start)
	if err != nil {
		h.t.Fatal(err)
	}
	return run
}

func (h *installation) await(id string, state record.RunState) record.Run {
	h.t.Helper()
	deadline := time.Now().Add(time.Hour)
	for {
		run, err := h.store.Run(h.t.Context(), id)
		if err != nil {
			h.t.Fatal(err)
		}
		if run.State == state {
			return run
		}
		if run.State.Final() || time.Now().After(deadline) {
			h.t.Fatalf("run is %s, not %s; error %+v; waiting %+v", run.State, state, run.Error, run.Waiting)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (h *installation) onceEach() {
	h.t.Helper()
	byID, _ := h.fleet.starts()
	for id, n := range byID {
		if n != 1 {
			h.t.Errorf("action %s was started %d times", id, n)
		}
	}
}

// requeue changes the place of a run in the queue of its cluster, as it is stored, while nobody leads.
func (h *installation) requeue(id string, at time.Time) {
	h.t.Helper()
	term, err := h.store.BeginTerm(h.t.Context(), 0)
	if err != nil {
		h.t.Fatal(err)
	}
	run, _, err := h.store.Claim(h.t.Context(), term.Term, id)
	if err != nil {
		h.t.Fatal(err)
	}
	commit := record.Commit{ID: "requeue-" + id, After: run.CommitID, Run: run}
	commit.Run.Rev, commit.Run.CommitID, commit.Run.QueuedTS = run.Rev+1, commit.ID, &at
	if err := h.store.Commit(h.t.Context(), term.Term, commit); err != nil {
		h.t.Fatal(err)
	}
}
