package cluster

import (
	"slices"

	"github.com/replicante-io/playbooks/record"
)

// Limit is how many nodes of a cluster may be out at the same time, by one observation of all its known nodes. A node is out that was not
// HEALTHY, or that a run has locked.
type Limit struct {
	Most  int
	Known map[string]*record.Node // as they were observed
}

// Out is a node that is out: by what was seen of it, or because a run has it locked.
type Out struct {
	Node   string
	Status record.Status
	Holder Holder
}

// outNodes are the nodes that are out. To act on one that is free makes no other node unavailable.
type outNodes struct {
	all  map[string]bool
	free map[string]bool
	// outdated is how many a run gave back after they were observed: they count whatever was seen, because it may have left them in any state.
	outdated int
}

func (one *capacity) out(limit *Limit) outNodes {
	out := outNodes{map[string]bool{}, map[string]bool{}, 0}
	for node, seen := range limit.Known {
		if one.locks[node] != nil {
			continue
		}
		freed, ever := one.freed[node]
		outdated := ever && seen.ObservedTS != nil && freed.After(*seen.ObservedTS)
		down := seen.Status != record.StatusHealthy
		if outdated || down {
			out.all[node], out.free[node] = true, !outdated
		}
		if outdated {
			out.outdated++
		}
	}
	for node := range one.locks {
		out.all[node], out.free[node] = true, true
	}
	return out
}

// fit is how many of nodes, from the first, can be locked within the limit. Where it is none, outdated is whether a newer observation may
// allow some.
func (one *capacity) fit(nodes []string, limit *Limit) (fit int, outdated bool) {
	out := one.out(limit)
	for i, node := range nodes {
		before, counted := len(out.all), out.all[node]
		out.all[node] = true
		if out.free[node] || len(out.all) <= limit.Most {
			continue
		}
		return i, counted || out.outdated > 0 && before-out.outdated < limit.Most
	}
	return len(nodes), false
}

// listOut are the nodes that are out, those first that no run has locked.
func (one *capacity) listOut(limit *Limit) []Out {
	var list []Out
	for node := range one.out(limit).all {
		o := Out{Node: node}
		if seen := limit.Known[node]; seen != nil {
			o.Status = seen.Status
		}
		if held := one.locks[node]; held != nil {
			o.Holder = Holder{held.runID, held.unsettled}
		}
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b Out) int {
		if lockedA, lockedB := a.Holder.RunID != "", b.Holder.RunID != ""; lockedA != lockedB {
			if lockedB {
				return -1
			}
			return 1
		}
		return record.CompareIDs(a.Node, b.Node)
	})
	return list
}
