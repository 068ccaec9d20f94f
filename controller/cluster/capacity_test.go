package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/record"
)

// fakeRun keeps what it was told.
type fakeRun struct {
	admitted bool
	behind   string
	unlocked []string
}

func (f *fakeRun) Queued(behind string) { f.admitted, f.behind = behind == "", behind }

func (f *fakeRun) Unlocked(node string) { f.unlocked = append(f.unlocked, node) }

func newRun(id string, state record.RunState, concurrency record.Concurrency) *record.Run {
	return &record.Run{ID: id, Cluster: "c", State: state, Concurrency: concurrency}
}

// TestNoTakeoverAdmitsRunsThatConflict restores runs under every order of stored times, equal ones included.
func TestNoTakeoverAdmitsRunsThatConflict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		n := rapid.IntRange(1, 6).Draw(t, "runs")
		begun := rapid.IntRange(-1, n-1).Draw(t, "the run that had begun")
		kind := rapid.SampledFrom([]record.Concurrency{record.Exclusive, record.Shared})
		c, runs, told := NewCapacity(record.StartClock()), []*record.Run{}, []*fakeRun{}
		for i := range n {
			r := newRun(fmt.Sprint("run-", i), record.RunPending, kind.Draw(t, "concurrency"))
			if i == begun {
				r.State = rapid.SampledFrom([]record.RunState{record.RunRunning, record.RunPaused, record.RunCancelling}).Draw(t, "state")
			}
			r.CreatedTS = base.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "created")) * time.Second)
			if rapid.Bool().Draw(t, "has queued_ts") {
				queued := base.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "queued")) * time.Second)
				r.QueuedTS = &queued
			}
			runs, told = append(runs, r), append(told, &fakeRun{})
			c.Restore(r)
		}
		for _, i := range rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := range n {
				if !yield(i) {
					return
				}
			}
		})).Draw(t, "order in which they continue") {
			c.Attach("c", runs[i].ID, told[i])
		}
		ended := map[int]bool{}
		for len(ended) < n {
			admitted := -1
			for i := range runs {
				if ended[i] || !told[i].admitted {
					continue
				}
				admitted = i
				for j := range i {
					if !ended[j] && told[j].admitted && !(runs[i].Concurrency == record.Shared && runs[j].Concurrency == record.Shared) {
						t.Fatalf("%+v and %+v are both admitted", runs[i], runs[j])
					}
				}
			}
			if begun >= 0 && !ended[begun] && !told[begun].admitted {
				t.Fatalf("the run that had begun is queued behind %s", told[begun].behind)
			}
			if admitted < 0 {
				t.Fatalf("nobody is admitted")
			}
			ended[admitted] = true
			c.Leave("c", runs[admitted].ID)
		}
		if len(c.clusters) != 0 {
			t.Fatalf("what is left: %+v", c.clusters)
		}
	})
}

func TestANewRunIsQueuedLastWhateverTheClockSays(t *testing.T) {
	c := NewCapacity(record.StartClock())
	future := record.Now().Add(time.Hour)
	first := newRun("first", record.RunPending, record.Exclusive)
	first.QueuedTS = &future
	c.Restore(first)
	for _, id := range []string{"b", "a"} {
		r := newRun(id, record.RunPending, record.Exclusive)
		c.Enter(r, false)
		if !r.QueuedTS.After(future) {
			t.Fatalf("%s is queued at %s, not after %s", id, r.QueuedTS, future)
		}
		future = *r.QueuedTS
	}
	a := &fakeRun{}
	c.Attach("c", "a", a)
	if a.behind != "first" {
		t.Errorf("the last run is behind %q", a.behind)
	}
	if by := c.Enter(newRun("d", record.RunPending, record.Shared), true); by != "first" {
		t.Errorf("in the way of a run that would have to wait is %q", by)
	}
	if len(c.clusters["c"].places) != 3 {
		t.Errorf("a refused run has a place: %v", c.clusters["c"].places)
	}
}

func TestNodesAreLockedAllOrNone(t *testing.T) {
	c, one, two, three := NewCapacity(record.StartClock()), &fakeRun{}, &fakeRun{}, &fakeRun{}
	if held := lockNodes(c, "one", []string{"a", "b"}, one); held != nil {
		t.Fatalf("held: %v", held)
	}
	if held := lockNodes(c, "two", []string{"b", "x"}, two); held["b"].RunID != "one" || len(held) != 1 {
		t.Fatalf("held: %v", held)
	}
	if held := lockNodes(c, "three", []string{"x"}, three); held["x"].RunID != "two" {
		t.Fatalf("a run has taken a node that an earlier one waits for: %v", held)
	}
	if held := lockNodes(c, "three", []string{"y"}, three); held != nil {
		t.Fatalf("held: %v", held)
	}
	c.Unlock("c", "two", []string{"b"}) // it is not theirs
	c.Unlock("c", "one", []string{"b"})
	if !slices.Equal(two.unlocked, []string{"b"}) {
		t.Fatalf("told %v", two.unlocked)
	}
	if held := lockNodes(c, "two", []string{"b", "x"}, two); held != nil {
		t.Fatalf("held: %v", held)
	}
	c.Unlock("c", "two", []string{"b", "x"})
	c.Ended("c", "one")
	if held := lockNodes(c, "two", []string{"a", "b"}, two); !held["a"].Unsettled || len(held) != 1 {
		t.Fatalf("held: %v", held)
	}
	if held := lockNodes(c, "three", []string{"b"}, three); held != nil {
		t.Fatalf("a run that waits for an unsettled action keeps others: %v", held)
	}
	c.Unlock("c", "three", []string{"b", "y"})
	c.RestoreLocks("c", "one", []string{"z"}, nil) // nothing may run on a any longer
	if held := lockNodes(c, "two", []string{"a", "b"}, two); held != nil {
		t.Fatalf("held: %v", held)
	}
	if locked := c.locked("c"); len(locked) != 3 {
		t.Fatalf("locked: %v", locked)
	}
}

// TestARunThatWantsOtherNodesKeepsNoOther: those that wait after it for what it wanted are told, and so is a run that took other nodes than
// those that an unsettled action keeps from it.
func TestARunThatWantsOtherNodesKeepsNoOther(t *testing.T) {
	for name, next := range map[string][]string{"and waits again": {"a"}, "and has them": {"z"}} {
		c, one, two, three := NewCapacity(record.StartClock()), &fakeRun{}, &fakeRun{}, &fakeRun{}
		lockNodes(c, "one", []string{"a"}, one)
		lockNodes(c, "two", []string{"a", "x"}, two)
		if held := lockNodes(c, "three", []string{"x"}, three); held["x"].RunID != "two" {
			t.Fatalf("held: %v", held)
		}
		lockNodes(c, "two", next, two)
		if !slices.Contains(three.unlocked, "x") {
			t.Errorf("%s: told %v", name, three.unlocked)
		}
	}
	c, one, two := NewCapacity(record.StartClock()), &fakeRun{}, &fakeRun{}
	lockNodes(c, "one", []string{"a"}, one)
	c.Ended("c", "one") // with an unsettled action
	lockNodes(c, "two", []string{"a", "x"}, two)
	lockNodes(c, "two", []string{"x"}, two)
	c.Unlock("c", "one", []string{"a"})
	if !slices.Equal(two.unlocked, []string{"a"}) {
		t.Errorf("told %v", two.unlocked)
	}
}

func TestARunThatWaitsNoLongerKeepsNoOther(t *testing.T) {
	for name, stop := range map[string]func(c *Capacity){
		"withdraws":        func(c *Capacity) { c.Withdraw("c", "two") },
		"ends":             func(c *Capacity) { c.Ended("c", "two") },
		"is claimed again": func(c *Capacity) { c.RestoreLocks("c", "two", nil, nil) },
	} {
		c, one, two, three := NewCapacity(record.StartClock()), &fakeRun{}, &fakeRun{}, &fakeRun{}
		lockNodes(c, "one", []string{"a"}, one)
		lockNodes(c, "two", []string{"a", "b"}, two)
		lockNodes(c, "three", []string{"b"}, three)
		stop(c)
		if !slices.Contains(three.unlocked, "b") {
			t.Errorf("%s: told %v", name, three.unlocked)
		}
		if held := lockNodes(c, "three", []string{"b"}, three); held != nil {
			t.Errorf("%s: held %v", name, held)
		}
	}
}

func TestNodesThatOnlyUnsettledActionsHoldAreNamed(t *testing.T) {
	c, one, two := NewCapacity(record.StartClock()), &fakeRun{}, &fakeRun{}
	lockNodes(c, "one", []string{"a"}, one)
	lockNodes(c, "two", []string{"a"}, two)
	c.MarkUnsettled("c", "one", []string{"a"})
	if !slices.Equal(two.unlocked, []string{"a"}) {
		t.Errorf("told %v", two.unlocked)
	}
	if held := lockNodes(c, "two", []string{"a"}, two); !held["a"].Unsettled {
		t.Errorf("held %v", held)
	}
}

// lockNodes locks nodes of cluster c for a run, without a limit.
func lockNodes(c *Capacity, runID string, nodes []string, by run) map[string]Holder {
	return c.Lock("c", runID, Request{Nodes: nodes}, by).Holders
}
