package controller

import (
	"context"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// lookTimeout bounds the look at the nodes of a cluster that a start or a plan needs.
const lookTimeout = 10 * time.Second

// selectNodes decides which of the known nodes a run is for, by the where and the nodes of its request, on fresh facts where the
// expression needs them, or with looks; it returns the nodes as they were seen. A node about which it cannot decide refuses the start.
func (t *term) selectNodes(ctx context.Context, spec *playbook.Spec, params record.Document, start record.RunRequest, known []record.Node,
	looks bool) (map[string]bool, []record.Node, error) {
	where, err := policy.Where(spec, start.Where)
	if err != nil {
		return nil, nil, &record.RejectedError{Code: record.CodeBadWhere, Problems: err.(record.Problems)}
	}
	if unknown := unknownNodes(start.Nodes, known); len(unknown) > 0 {
		return nil, nil, &record.RejectedError{Code: record.CodeUnknownNodes, Data: record.Document{
			"cluster": start.Cluster, "nodes": unknown[:min(len(unknown), maxListed)], "count": int64(len(unknown))}}
	}
	if looks || where.NeedsFacts() || where.NeedsAllNodes() {
		known = t.look(ctx, start.Cluster, known)
	}
	run := record.Run{Cluster: start.Cluster, Params: params, Where: start.Where, Nodes: start.Nodes}
	run.Playbook.Name = start.Playbook
	selected, undecided, err := policy.SelectNodes(run, where, known)
	if err != nil {
		return nil, nil, &record.RejectedError{Code: record.CodeBadWhere, Problems: record.Problems{{
			Path: "where", Code: record.CodeExpression, Message: "where: " + err.Error()}}}
	}
	if len(undecided) > 0 {
		return nil, nil, &record.RejectedError{Code: record.CodeNodesUndecided, Data: record.Document{"cluster": start.Cluster,
			"where": start.Where, "undecided": undecidedNodes(undecided), "count": int64(len(undecided))}}
	}
	if len(selected) == 0 {
		return nil, nil, &record.RejectedError{Code: record.CodeNoneSelected, Data: record.Document{
			"cluster": start.Cluster, "where": start.Where, "of": int64(len(known))}}
	}
	return selected, known, nil
}

// look asks the agents of known nodes what they are like now. Those that do not answer in time are UNREACHABLE.
func (t *term) look(ctx context.Context, cluster string, known []record.Node) []record.Node {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	names := make([]string, len(known))
	for i := range known {
		names[i] = known[i].NodeID
	}
	if seen := t.shared.Inventory.NewLook(cluster).Round(ctx, names); seen != nil {
		return seen
	}
	unanswered := make([]record.Node, len(known))
	for i := range known {
		n := known[i]
		n.Status, n.Role, n.Shards = record.StatusUnreachable, "", nil
		n.StatusReason = "its agent (" + n.AgentURL + ") did not answer within " + lookTimeout.String()
		unanswered[i] = n
	}
	return unanswered
}

func unknownNodes(asked []string, known []record.Node) []any {
	ids := map[string]bool{}
	for i := range known {
		ids[known[i].NodeID] = true
	}
	var unknown []any
	for _, name := range asked {
		if !ids[name] {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

func undecidedNodes(undecided []policy.Undecided) []any {
	var list []any
	for _, u := range undecided[:min(len(undecided), maxNamed)] {
		list = append(list, map[string]any{"node": u.Node.NodeID, "error": u.Err.Error(), "status": string(u.Node.Status),
			"status_reason": u.Node.StatusReason})
	}
	return list
}

func selectedOf(known []record.Node, selected map[string]bool) []record.Node {
	of := make([]record.Node, 0, len(selected))
	for i := range known {
		if selected[known[i].NodeID] {
			of = append(of, known[i])
		}
	}
	return of
}

// leaveOut records that a new run is not for the nodes which are not selected.
func leaveOut(create *record.Commit, selected map[string]bool) {
	run := &create.Run
	left := len(create.Nodes) - len(selected)
	if left == 0 {
		return
	}
	run.Counts[record.NodeSkipped] = left
	create.Events[0].Data["left_out"] = int64(left)
	cause := policy.OutsideSubset(run)
	for i := range create.Nodes {
		if n := &create.Nodes[i]; !selected[n.Node] {
			n.State, n.History = record.NodeSkipped, []record.NodeChange{{State: record.NodeSkipped, TS: run.CreatedTS, Cause: cause}}
		}
	}
}
