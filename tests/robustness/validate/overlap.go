package validate

import (
	"slices"
	"time"
)

// span is the part of an execution that its run waited for. A run that has recorded that it does not know how an action
// ended continues without its node, which is out of service until the end is known (see oneExecutionPerNode).
type span struct {
	*action
	start, end time.Time
	stage      int // index
	batch      batch
}

// batch names a batch of a stage. Batches are numbered from 1 in each group of each pass.
type batch struct {
	pass   string
	number int // of the pass
	group  string
	batch  int
}

// spans are those of a run, by start.
func (h *history) spans(r *Run) []span {
	var all []span
	for _, n := range h.nodesOf[r.ID] {
		for i := range n.Actions {
			a := h.actions[n.Actions[i].ID]
			stage, _ := r.step(a.Stage, a.Step)
			for _, x := range h.executions[a.ID] {
				s := span{action: a, start: x.Start, end: x.Start, stage: stage, batch: n.batchOf(a.Action)}
				if x.End != nil {
					s.end = *x.End
				}
				if a.unknown != nil {
					if !a.unknown.After(s.start) {
						continue
					}
					if a.unknown.Before(s.end) {
						s.end = *a.unknown
					}
				}
				all = append(all, s)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b span) int { return a.start.Compare(b.start) })
	return all
}

// batchOf is the batch that an action was for: the node's latest of that stage, in the action's kind of pass if the node's
// record names one.
func (n *Node) batchOf(a *Action) batch {
	for _, pass := range []string{a.Pass, ""} {
		for i := range slices.Backward(n.Stages) {
			if e := &n.Stages[i]; e.Name == a.Stage && (pass == "" || e.Pass == pass) {
				return e.batch()
			}
		}
	}
	return batch{}
}

func (e *NodeStage) batch() batch { return batch{e.Pass, e.PassNumber, e.Group, e.Batch} }

// ordinal is the number of a batch of a stage among those of its group in all passes.
func (r *Run) ordinal(stage string, b batch) int {
	before := 0
	for i := range r.Stages {
		st := &r.Stages[i]
		if st.Name != stage {
			continue
		}
		if st.Pass == b.pass && st.PassNumber == b.number {
			break
		}
		if len(st.Groups) == 0 {
			before += st.Batch
		}
		for _, g := range st.Groups {
			if g.Key == b.group {
				before += g.Batch
			}
		}
	}
	return before + b.batch
}

// overlaps calls see with every span and with those before it that have not ended when it starts.
func overlaps(spans []span, see func(s span, others []span)) {
	var active []span
	for _, s := range spans {
		active = slices.DeleteFunc(active, func(a span) bool { return !a.end.After(s.start) })
		see(s, active)
		active = append(active, s)
	}
}

// batches: none has more nodes than the playbook allows, and the batches of a group follow each other.
func (h *history) batches() {
	for i := range h.Runs {
		r := &h.Runs[i]
		h.batchSizes(r)
		spans := h.spans(r)
		overlaps(spans, func(s span, others []span) {
			spec := &r.Playbook.Spec.Stages[s.stage]
			nodes := map[string]bool{s.node.Node: true}
			for _, o := range others {
				if o.stage != s.stage || o.batch.group != s.batch.group {
					continue
				}
				nodes[o.node.Node] = true
				if o.batch != s.batch {
					h.report(s.violation(), "it was started for batch %d of stage %s at %s, while %s of batch %d was running until %s",
						s.batch.batch, spec.Name, clock(s.start), o.node.Node, o.batch.batch, clock(o.end))
				}
			}
			if size := spec.size(r.ordinal(spec.Name, s.batch), h.total(r, spec.Name)); len(nodes) > size {
				h.report(s.violation(), "it was started at %s: then %d nodes of stage %s were running instead of %d", clock(s.start), len(nodes), spec.Name, size)
			}
		})
		// A batch does not start again after the next one.
		type group struct {
			stage, number int
			pass, group   string
		}
		latest := map[group]span{}
		for _, s := range spans {
			key := group{s.stage, s.batch.number, s.batch.pass, s.batch.group}
			if l, ok := latest[key]; ok && s.batch.batch < l.batch.batch {
				h.report(s.violation(), "it was started for batch %d of stage %s at %s, after one of batch %d", s.batch.batch, s.Stage, clock(s.start), l.batch.batch)
			} else {
				latest[key] = s
			}
		}
	}
}

func (h *history) batchSizes(r *Run) {
	type place struct {
		stage int
		batch batch
	}
	sizes := map[place]int{}
	for _, n := range h.nodesOf[r.ID] {
		for i := range n.Stages {
			e := &n.Stages[i]
			if stage := stageIndex(r, e.Name); stage >= 0 && e.Batch > 0 {
				sizes[place{stage, e.batch()}]++
			}
		}
	}
	for at, n := range sizes {
		spec := &r.Playbook.Spec.Stages[at.stage]
		if size := spec.size(r.ordinal(spec.Name, at.batch), h.total(r, spec.Name)); n > size {
			h.report(Violation{Run: r.ID}, "batch %d of stage %s has %d nodes of %d", at.batch.batch, spec.Name, n, size)
		}
	}
}

func stageIndex(r *Run, name string) int {
	return slices.IndexFunc(r.Playbook.Spec.Stages, func(s StageSpec) bool { return s.Name == name })
}

// stagesInOrder: newcomers go through the stages in passes of their own, so that only their own order counts.
func (h *history) stagesInOrder() {
	for i := range h.Runs {
		r := &h.Runs[i]
		furthest := map[string]span{} // by newcomer; "" for all other nodes
		for _, s := range h.spans(r) {
			who := ""
			if s.node.Newcomer {
				who = s.node.Node
			}
			f, ok := furthest[who]
			if ok && s.stage < f.stage {
				h.report(s.violation(), "it was started for stage %s at %s, after %s had been for stage %s at %s", s.Stage, clock(s.start), f.node.Node, f.Stage, clock(f.start))
			}
			if !ok || s.stage > f.stage {
				furthest[who] = s
			}
		}
		overlaps(h.spans(r), func(s span, others []span) {
			for _, o := range others {
				if o.stage < s.stage && !s.node.Newcomer && !o.node.Newcomer {
					h.report(s.violation(), "it was started for stage %s at %s, while %s was running for stage %s until %s", s.Stage, clock(s.start), o.node.Node, o.Stage, clock(o.end))
				}
			}
		})
	}
}

// exclusiveRuns: neither the executions of an exclusive run nor the run itself overlap with those of another run of its cluster.
func (h *history) exclusiveRuns() {
	clusters := map[string][]span{}
	for i := range h.Runs {
		r := &h.Runs[i]
		clusters[r.Cluster] = append(clusters[r.Cluster], h.spans(r)...)
		for j := range h.Runs {
			o := &h.Runs[j]
			if !r.exclusive() || o.ID == r.ID || o.Cluster != r.Cluster || r.StartTS == nil || o.StartTS == nil || o.exclusive() && o.ID < r.ID {
				continue
			}
			if (r.EndTS == nil || r.EndTS.After(*o.StartTS)) && (o.EndTS == nil || o.EndTS.After(*r.StartTS)) {
				h.report(Violation{Run: r.ID}, "it is exclusive and lasted from %s to %s; run %s lasted from %s to %s",
					clock(*r.StartTS), clockOf(r.EndTS), o.ID, clock(*o.StartTS), clockOf(o.EndTS))
			}
		}
	}
	for _, spans := range clusters {
		slices.SortStableFunc(spans, func(a, b span) int { return a.start.Compare(b.start) })
		overlaps(spans, func(s span, others []span) {
			for _, o := range others {
				if s.run.ID != o.run.ID && (s.run.exclusive() || o.run.exclusive()) {
					h.report(s.violation(), "it was started at %s, while action %s of run %s was running on %s until %s, and one of the runs is exclusive",
						clock(s.start), o.ID, o.run.ID, o.node.Node, clock(o.end))
				}
			}
		})
	}
}

// queueOrder: of two runs of a cluster that may not run at the same time, the one that was queued first starts first.
func (h *history) queueOrder() {
	for i := range h.Runs {
		for j := range h.Runs {
			first, second := &h.Runs[i], &h.Runs[j]
			if first.Cluster != second.Cluster || !first.exclusive() && !second.exclusive() || first.QueuedTS == nil || second.QueuedTS == nil ||
				first.StartTS == nil || second.StartTS == nil || !first.QueuedTS.Before(*second.QueuedTS) {
				continue
			}
			if second.StartTS.Before(*first.StartTS) && h.created(first).Before(*second.StartTS) {
				h.report(Violation{Run: second.ID}, "it was queued at %s and started at %s; run %s was queued at %s and started at %s",
					clock(*second.QueuedTS), clock(*second.StartTS), first.ID, clock(*first.QueuedTS), clock(*first.StartTS))
			}
		}
	}
}

// created is when a run was: a run that was not in the queue yet, or not any more, says nothing about the order of the others. Leaders
// with different clocks number them differently.
func (h *history) created(r *Run) time.Time {
	if events := h.eventsOf[r.ID]; len(events) > 0 {
		return events[0].TS
	}
	return time.Time{}
}

// maxFailures: once more nodes have failed than a stage allows, no step of the run starts, or none until it is resumed.
func (h *history) maxFailures() {
	for i := range h.Runs {
		r := &h.Runs[i]
		for j := range r.Playbook.Spec.Stages {
			spec := &r.Playbook.Spec.Stages[j]
			if spec.OnFailure == "continue" {
				continue
			}
			failed := map[string]bool{}
			for _, n := range h.nodesOf[r.ID] {
				for _, e := range n.Stages {
					if e.Name == spec.Name && (e.State == "FAILED" || e.State == "UNKNOWN") {
						failed[n.Node] = true
					}
				}
			}
			exceeded, resumed := h.exceeded(r, spec, failed)
			if exceeded == nil {
				continue
			}
			for _, n := range h.nodesOf[r.ID] {
				for k := range n.Actions {
					if a := &n.Actions[k]; a.StartTS.After(*exceeded) && (resumed == nil || a.StartTS.Before(*resumed)) {
						h.report(h.actions[a.ID].violation(), "it was saved at %s, after %d nodes of stage %s had failed at %s", clock(a.StartTS), len(failed), spec.Name, clock(*exceeded))
					}
				}
			}
		}
	}
}

// exceeded is when one node more had failed than the stage allows, and when a run that paused for it was resumed.
func (h *history) exceeded(r *Run, spec *StageSpec, failed map[string]bool) (exceeded, resumed *time.Time) {
	count, paused := 0, false
	for _, e := range h.eventsOf[r.ID] {
		switch {
		case e.Type == "node.state" && failed[e.Node] && (e.Data.State == "FAILED" || e.Data.State == "UNKNOWN"):
			if count++; count == spec.failures(h.total(r, spec.Name))+1 {
				exceeded = &e.TS
			}
		case e.Type == "run.pausing" && e.Data.Code == "max_failures":
			paused = exceeded != nil
		case e.Type == "run.resumed" && spec.OnFailure == "pause" && paused && resumed == nil:
			resumed = &e.TS
		}
	}
	return exceeded, resumed
}

// pausedRuns: while a run is PAUSED nothing of it is in flight, and nothing starts.
func (h *history) pausedRuns() {
	for i := range h.Runs {
		r := &h.Runs[i]
		spans := h.spans(r)
		var since *time.Time
		for _, e := range h.eventsOf[r.ID] {
			switch e.Type {
			case "run.paused":
				since = &e.TS
				continue
			case "run.resumed", "run.cancelling", "run.finished":
			default:
				continue
			}
			if since == nil {
				continue
			}
			for _, s := range spans {
				// Records have whole milliseconds.
				if s.start.Before(e.TS) && s.end.After(since.Add(time.Millisecond)) {
					h.report(s.violation(), "it was running from %s to %s, and its run was paused from %s to %s", clock(s.start), clock(s.end), clock(*since), clock(e.TS))
				}
			}
			since = nil
		}
	}
}
