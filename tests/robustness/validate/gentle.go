package validate

import (
	"slices"
	"time"
)

// hostilePayloads: an action whose command wrote a payload that cannot be stored has not succeeded.
func (h *history) hostilePayloads() {
	for _, a := range h.actions {
		if a.State == "DONE" && h.wroteHostile(a.ID) {
			h.report(a.violation(), "it is DONE, and its command wrote a payload that cannot be stored")
		}
	}
}

func (h *history) wroteHostile(action string) bool {
	return slices.ContainsFunc(h.executions[action], func(x *Execution) bool { return x.Hostile })
}

// gentleFaults: an agent that is slow or restarts, a clock that is wrong, and what other nodes say, fail no node that is there.
func (h *history) gentleFaults() {
	clusters := map[string]bool{}
	for i := range h.Nodes {
		n := &h.Nodes[i]
		if !slices.Contains(h.Gentle, n.Node) {
			continue
		}
		run := h.runs[n.RunID]
		if run == nil {
			continue
		}
		clusters[run.Cluster] = true
		hostile := slices.ContainsFunc(n.Actions, func(a Action) bool { return h.wroteHostile(a.ID) })
		if slices.Contains([]string{"FAILED", "UNKNOWN", "REMOVED"}, n.State) && !hostile {
			h.report(Violation{Run: n.RunID, Node: n.Node}, "it is %s (%s) in a run of %s, and its agent only was slow or restarted", n.State, n.failure(), run.Playbook.Name)
		}
	}
	for i := range h.Runs {
		r := &h.Runs[i]
		if !clusters[r.Cluster] || r.State != "FAILED" {
			continue
		}
		if r.Error == nil || r.Error.Code != "max_failures" && r.Error.Code != "nodes_failed" {
			h.report(Violation{Run: r.ID}, "it is FAILED because of %+v, and no node of its own has failed", r.Error)
		}
	}
}

func (n *Node) failure() string {
	if n.Error != nil {
		return n.Error.Code
	}
	if len(n.Actions) > 0 {
		return n.Actions[len(n.Actions)-1].code()
	}
	return "without a reason"
}

// timeouts: no attempt and no gate ends before its time, by the clock of the machine.
func (h *history) timeouts() {
	for _, a := range h.actions {
		if a.run == nil || a.code() != "timeout" || a.FinishTS == nil {
			continue
		}
		_, step := a.run.step(a.Stage, a.Step)
		if step == nil {
			continue
		}
		timeout, err := time.ParseDuration(step.Timeout)
		if err != nil {
			continue
		}
		// It may be saved a little later than decided, and ends as decided or later.
		if lasted := a.FinishTS.Sub(a.StartTS); lasted < timeout-2*time.Second {
			h.report(a.violation(), "it is over its timeout of %s after %s", timeout, lasted)
		}
	}
	for run, events := range h.eventsOf {
		checking := map[[2]string]time.Time{} // when the gate of a stage opened last
		for _, e := range events {
			switch {
			case e.Type == "batch.checking":
				checking[[2]string{e.Stage}] = e.TS
			case e.Type == "node.state" && e.Data.State == "FAILED" && e.Data.Code == "health_timeout":
				if since := checking[[2]string{e.Stage}]; !since.IsZero() && e.TS.Sub(since) < time.Second {
					h.report(Violation{Run: run, Node: e.Node}, "it is not healthy in time %s after its gate opened", e.TS.Sub(since))
				}
			}
		}
	}
}
