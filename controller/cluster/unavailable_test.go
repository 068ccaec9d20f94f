package cluster

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/record"
)

// seenNow is how nodes are now: HEALTHY, or as down says.
func seenNow(c *Capacity, most int, down map[string]record.Status, nodes ...string) *Limit {
	now := c.clock.Now()
	limit := &Limit{Most: most, Known: map[string]*record.Node{}}
	for _, name := range nodes {
		limit.Known[name] = &record.Node{NodeID: name, Status: record.StatusHealthy, ObservedTS: &now}
		if status, is := down[name]; is {
			limit.Known[name].Status = status
		}
	}
	return limit
}

func TestALimitCountsEveryRunAndWhatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, one, two := NewCapacity(record.StartClock()), &fakeRun{}, &fakeRun{}
		all, down := []string{"a", "b", "c", "d", "e"}, map[string]record.Status{"e": record.StatusUnreachable}
		c.Restore(newRun("one", record.RunRunning, record.Shared))
		c.Restore(newRun("two", record.RunRunning, record.Shared))
		if got := c.Lock("c", "one", Request{all[:3], seenNow(c, 3, down, all...)}, one); !slices.Equal(got.Locked, []string{"a", "b"}) {
			t.Fatalf("of a limit of 3 with one node down: %+v", got)
		}
		got := c.Lock("c", "two", Request{[]string{"c", "d"}, seenNow(c, 3, down, all...)}, two)
		if len(got.Locked) != 0 || got.Outdated || len(got.Out) != 3 || got.Out[0].Node != "e" || got.Out[1].Holder.RunID != "one" {
			t.Fatalf("beyond the limit: %+v", got)
		}
		if got := c.Lock("c", "two", Request{[]string{"e", "d"}, seenNow(c, 3, down, all...)}, two); !slices.Equal(got.Locked, []string{"e"}) {
			t.Fatalf("what is down already is free: %+v", got)
		}
		c.Unlock("c", "two", []string{"e"})
		c.MarkUnsettled("c", "one", []string{"a"})
		time.Sleep(time.Second)
		if got := c.Lock("c", "two", Request{[]string{"d"}, seenNow(c, 2, nil, all...)}, two); len(got.Locked) != 0 || !got.Out[0].Holder.Unsettled {
			t.Fatalf("what may still be running counts: %+v", got)
		}
		two.unlocked = nil
		c.Unlock("c", "one", []string{"b"})
		if len(two.unlocked) == 0 {
			t.Fatal("a run that waits for fewer nodes to be out is not told of one that was given back")
		}
		time.Sleep(time.Second)
		if got := c.Lock("c", "two", Request{[]string{"d"}, seenNow(c, 2, nil, all...)}, two); len(got.Locked) != 1 {
			t.Fatalf("within the limit: %+v", got)
		}
	})
}

// TestARunThatWaitsForFewerNodesToBeOutKeepsNoNodeFromOthers: what keeps it may be there for long.
func TestARunThatWaitsForFewerNodesToBeOutKeepsNoNodeFromOthers(t *testing.T) {
	c, one, two, three := NewCapacity(record.StartClock()), &fakeRun{}, &fakeRun{}, &fakeRun{}
	lockNodes(c, "one", []string{"a"}, one)
	lockNodes(c, "two", []string{"a", "b"}, two) // waits for a, and wants b
	if held := lockNodes(c, "three", []string{"b"}, three); held["b"].RunID != "two" {
		t.Fatalf("holders %v", held)
	}
	c.Lock("c", "two", Request{[]string{"b"}, seenNow(c, 1, nil, "a", "b", "c")}, two)
	if !slices.Contains(three.unlocked, "b") {
		t.Error("three is not told that b is worth another try")
	}
	if held := lockNodes(c, "three", []string{"b"}, three); held != nil {
		t.Errorf("holders %v", held)
	}
}

// TestANodeThatWasGivenBackIsOutUntilItIsObservedAgain: its run may have left it down, after it was observed HEALTHY.
func TestANodeThatWasGivenBackIsOutUntilItIsObservedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, one, two := NewCapacity(record.StartClock()), &fakeRun{}, &fakeRun{}
		c.Restore(newRun("one", record.RunRunning, record.Shared))
		c.Restore(newRun("two", record.RunRunning, record.Shared))
		lockNodes(c, "one", []string{"a"}, one)
		before := seenNow(c, 1, nil, "a", "b")
		wasDown := seenNow(c, 1, map[string]record.Status{"a": record.StatusUnhealthy, "b": record.StatusUnhealthy}, "a", "b")
		time.Sleep(time.Second)
		c.Unlock("c", "one", []string{"a"})
		if got := c.Lock("c", "two", Request{[]string{"b"}, before}, two); len(got.Locked) > 0 || !got.Outdated {
			t.Fatalf("on facts of before: %+v", got)
		}
		if got := c.Lock("c", "two", Request{[]string{"a"}, wasDown}, two); len(got.Locked) > 0 || !got.Outdated {
			t.Fatalf("a node that was out then may be back: %+v", got)
		}
		time.Sleep(time.Millisecond)
		if got := c.Lock("c", "two", Request{[]string{"b"}, seenNow(c, 1, nil, "a", "b")}, two); len(got.Locked) != 1 {
			t.Fatalf("on facts of after: %+v", got)
		}
	})
}

// TestRunsNeverTakeMoreNodesOutTogetherThanTheLimit: whatever runs ask for, on facts however old, and whatever state they leave nodes in.
func TestRunsNeverTakeMoreNodesOutTogetherThanTheLimit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(*testing.T) {
			c, all := NewCapacity(record.StartClock()), []string{"a", "b", "c", "d", "e", "f"}
			most := rapid.IntRange(1, 3).Draw(rt, "limit")
			down, locked := map[string]record.Status{}, map[string]int{}
			runs := []*fakeRun{{}, {}, {}}
			limits := make([]*Limit, len(runs))
			for i := range runs {
				c.Restore(newRun(fmt.Sprint(i), record.RunRunning, record.Shared))
			}
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				time.Sleep(time.Duration(rapid.IntRange(1, 3).Draw(rt, "ms")) * time.Millisecond)
				i := rapid.IntRange(0, len(runs)-1).Draw(rt, "run")
				switch rapid.IntRange(0, 2).Draw(rt, "what") {
				case 0: // it observes
					limits[i] = seenNow(c, most, down, all...)
				case 1: // its batch ends
					for node, by := range locked {
						if by == i+1 {
							delete(locked, node)
							c.Unlock("c", fmt.Sprint(i), []string{node})
						}
					}
				case 2:
					if limits[i] == nil {
						break
					}
					first := rapid.IntRange(0, len(all)-1).Draw(rt, "first")
					answer := c.Lock("c", fmt.Sprint(i), Request{all[first:min(len(all), first+2)], limits[i]}, runs[i])
					fresh := map[string]bool{}
					for _, node := range answer.Locked {
						fresh[node] = down[node] == ""
						locked[node] = i + 1
					}
					out := map[string]bool{}
					for node := range locked {
						out[node] = true
					}
					for node := range down {
						out[node] = true
					}
					for node, healthy := range fresh {
						if healthy && len(out) > most {
							rt.Fatalf("run %d takes %s: %v are out", i, node, out)
						}
					}
					for _, node := range answer.Locked { // what a run does takes a node down, or repairs it
						if delete(down, node); rapid.Bool().Draw(rt, "down") {
							down[node] = record.StatusUnhealthy
						}
					}
				}
			}
		})
	})
}
