package check

import (
	"slices"
	"time"
)

// span is the part of a command's time that its run waited for: a run that has recorded that nobody knows how an action
// ended goes on without its node, which is out of service until the end is known (see oneCommandPerNode).
type span struct {
	*deed
	start, end time.Time
	stage      int // index
	batch      int
}

// spans are those of a run, by start.
func (c *court) spans(r *Run) []span {
	var all []span
	for _, n := range c.nodes[r.ID] {
		for i := range n.Actions {
			d := c.actions[n.Actions[i].ID]
			stage, _ := r.step(d.Stage, d.Step)
			for _, w := range c.work[d.ID] {
				s := span{deed: d, start: w.Start, end: w.Start, stage: stage, batch: n.batch(d.Stage)}
				if w.End != nil {
					s.end = *w.End
				}
				if d.unknown != nil {
					if !d.unknown.After(s.start) {
						continue
					}
					if d.unknown.Before(s.end) {
						s.end = *d.unknown
					}
				}
				all = append(all, s)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b span) int { return a.start.Compare(b.start) })
	return all
}

func (n *Node) batch(stage string) int {
	for i := range slices.Backward(n.Stages) {
		if n.Stages[i].Name == stage {
			return n.Stages[i].Batch
		}
	}
	return 0
}

// beside calls see with every span and those before it that are still at work when it starts.
func beside(spans []span, see func(s span, others []span)) {
	var active []span
	for _, s := range spans {
		active = slices.DeleteFunc(active, func(a span) bool { return !a.end.After(s.start) })
		see(s, active)
		active = append(active, s)
	}
}

func (c *court) batch() {
	for i := range c.Runs {
		r := &c.Runs[i]
		sizes := map[[2]int]int{} // by stage and batch
		for _, n := range c.nodes[r.ID] {
			for _, e := range n.Stages {
				if stage := stageIndex(r, e.Name); stage >= 0 && e.Batch > 0 {
					sizes[[2]int{stage, e.Batch}]++
				}
			}
		}
		for at, n := range sizes {
			spec := &r.Playbook.Spec.Stages[at[0]]
			if size := spec.size(at[1], c.total(r, spec.Name)); n > size {
				c.find(Violation{Run: r.ID}, "batch %d of stage %s has %d nodes of %d", at[1], spec.Name, n, size)
			}
		}
		beside(c.spans(r), func(s span, others []span) {
			spec := &r.Playbook.Spec.Stages[s.stage]
			nodes := map[string]bool{s.node.Node: true}
			for _, o := range others {
				if o.stage == s.stage {
					nodes[o.node.Node] = true
					if o.batch != s.batch {
						c.find(s.violation(), "it was started for batch %d of stage %s at %s, while %s of batch %d was at work until %s",
							s.batch, spec.Name, clock(s.start), o.node.Node, o.batch, clock(o.end))
					}
				}
			}
			if size := spec.size(s.batch, c.total(r, spec.Name)); len(nodes) > size {
				c.find(s.violation(), "it was started at %s: then %d nodes of stage %s were at work instead of %d", clock(s.start), len(nodes), spec.Name, size)
			}
		})
		// A batch that has begun does not come back.
		latest := map[int]span{}
		for _, s := range c.spans(r) {
			if l, ok := latest[s.stage]; ok && s.batch < l.batch {
				c.find(s.violation(), "it was started for batch %d of stage %s at %s, after one of batch %d", s.batch, s.Stage, clock(s.start), l.batch)
			} else {
				latest[s.stage] = s
			}
		}
	}
}

func stageIndex(r *Run, name string) int {
	return slices.IndexFunc(r.Playbook.Spec.Stages, func(s StageSpec) bool { return s.Name == name })
}

// stagesInOrder: newcomers go through the stages by themselves, so that only their own order counts.
func (c *court) stagesInOrder() {
	for i := range c.Runs {
		r := &c.Runs[i]
		furthest := map[string]span{} // of a newcomer, and of all others
		for _, s := range c.spans(r) {
			who := ""
			if s.node.Newcomer {
				who = s.node.Node
			}
			f, ok := furthest[who]
			if ok && s.stage < f.stage {
				c.find(s.violation(), "it was started for stage %s at %s, after %s had been for stage %s at %s", s.Stage, clock(s.start), f.node.Node, f.Stage, clock(f.start))
			}
			if !ok || s.stage > f.stage {
				furthest[who] = s
			}
		}
		beside(c.spans(r), func(s span, others []span) {
			for _, o := range others {
				if o.stage < s.stage && !s.node.Newcomer && !o.node.Newcomer {
					c.find(s.violation(), "it was started for stage %s at %s, while %s was at work for stage %s until %s", s.Stage, clock(s.start), o.node.Node, o.Stage, clock(o.end))
				}
			}
		})
	}
}

// exclusive: neither the commands nor the lives of an exclusive run and another one of its cluster overlap.
func (c *court) exclusive() {
	clusters := map[string][]span{}
	for i := range c.Runs {
		r := &c.Runs[i]
		clusters[r.Cluster] = append(clusters[r.Cluster], c.spans(r)...)
		for j := range c.Runs {
			o := &c.Runs[j]
			if !r.exclusive() || o.ID == r.ID || o.Cluster != r.Cluster || r.StartTS == nil || o.StartTS == nil || o.exclusive() && o.ID < r.ID {
				continue
			}
			if (r.FinishTS == nil || r.FinishTS.After(*o.StartTS)) && (o.FinishTS == nil || o.FinishTS.After(*r.StartTS)) {
				c.find(Violation{Run: r.ID}, "it is exclusive and went on from %s to %s; run %s did so from %s to %s",
					clock(*r.StartTS), clockOf(r.FinishTS), o.ID, clock(*o.StartTS), clockOf(o.FinishTS))
			}
		}
	}
	for _, spans := range clusters {
		slices.SortStableFunc(spans, func(a, b span) int { return a.start.Compare(b.start) })
		beside(spans, func(s span, others []span) {
			for _, o := range others {
				if s.run.ID != o.run.ID && (s.run.exclusive() || o.run.exclusive()) {
					c.find(s.violation(), "it was started at %s, while action %s of run %s was at work on %s until %s, and one of them is exclusive",
						clock(s.start), o.ID, o.run.ID, o.node.Node, clock(o.end))
				}
			}
		})
	}
}

// maxFailures: once more nodes have failed than a stage allows, no step of the run starts, or none until it is resumed.
func (c *court) maxFailures() {
	for i := range c.Runs {
		r := &c.Runs[i]
		for j := range r.Playbook.Spec.Stages {
			spec := &r.Playbook.Spec.Stages[j]
			if spec.OnFailure == "continue" {
				continue
			}
			failed := map[string]bool{}
			for _, n := range c.nodes[r.ID] {
				for _, e := range n.Stages {
					if e.Name == spec.Name && (e.State == "FAILED" || e.State == "UNKNOWN") {
						failed[n.Node] = true
					}
				}
			}
			var exceeded, resumed *time.Time
			count, told := 0, false // the run has paused for it
			for _, e := range c.happens[r.ID] {
				switch {
				case e.Type == "node.state" && failed[e.Node] && (e.Data.State == "FAILED" || e.Data.State == "UNKNOWN"):
					if count++; count == spec.failures(c.total(r, spec.Name))+1 {
						exceeded = &e.TS
					}
				case e.Type == "run.pausing" && e.Data.Code == "max_failures":
					told = exceeded != nil
				case e.Type == "run.resumed" && spec.OnFailure == "pause" && told && resumed == nil:
					resumed = &e.TS
				}
			}
			if exceeded == nil {
				continue
			}
			for _, n := range c.nodes[r.ID] {
				for k := range n.Actions {
					if a := &n.Actions[k]; a.StartTS.After(*exceeded) && (resumed == nil || a.StartTS.Before(*resumed)) {
						c.find(c.actions[a.ID].violation(), "it was decided on at %s, after %d nodes of stage %s had failed at %s", clock(a.StartTS), len(failed), spec.Name, clock(*exceeded))
					}
				}
			}
		}
	}
}

// paused: while a run is PAUSED nothing of it is in flight, and nothing starts.
func (c *court) paused() {
	for i := range c.Runs {
		r := &c.Runs[i]
		spans := c.spans(r)
		var since *time.Time
		for _, e := range c.happens[r.ID] {
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
					c.find(s.violation(), "it was at work from %s to %s, and its run paused from %s to %s", clock(s.start), clock(s.end), clock(*since), clock(e.TS))
				}
			}
			since = nil
		}
	}
}
