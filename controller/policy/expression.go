package policy

import (
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// expressionVars are the variables of expressions that are the same for all nodes.
type expressionVars struct {
	run     map[string]any
	results map[string]any // nil until an expression mentions it, then kept up to date by addResult
}

// runVars is what every expression sees.
func (p *Plan) runVars() playbook.Vars {
	if p.expression.run == nil {
		p.expression.run = map[string]any{
			"id": p.run.ID, "cluster": p.run.Cluster, "playbook": p.run.Playbook.Name, "requested_by": p.run.RequestedBy,
		}
	}
	return playbook.Vars{"params": map[string]any(p.run.Params), "run": p.expression.run}
}

// vars is what an expression about n sees, or, without n, one about the cluster; what a node has not reported is not in it.
func (p *Plan) vars(n *node, seen *facts) playbook.Vars {
	vars := p.runVars()
	vars["results"] = p.allResults
	if n != nil {
		fact := seen.of(n.rec.Node)
		if fact == nil {
			fact = &n.fact
		}
		vars["node"] = p.nodeVar(n.rec.Node, fact)
	}
	if seen != nil {
		if seen.all == nil {
			seen.all = make([]any, 0, len(seen.nodes))
			for _, name := range slices.SortedFunc(maps.Keys(seen.nodes), record.CompareIDs) {
				if removed := p.nodes[name]; removed != nil && removed.rec.Membership == record.MemberRemoved {
					continue // it is gone: nothing of the run waits for it
				}
				seen.all = append(seen.all, p.nodeVar(name, seen.nodes[name]))
			}
		}
		vars["nodes"] = seen.all
	}
	return vars
}

func (p *Plan) nodeVar(name string, fact *record.Node) map[string]any {
	v := map[string]any{"id": name, "cluster": p.run.Cluster, "attributes": map[string]any{}}
	if fact.Attributes != nil {
		v["attributes"] = map[string]any(fact.Attributes)
	}
	for key, value := range map[string]string{
		"status": string(fact.Status), "role": fact.Role, "store_id": fact.StoreID, "store_version": fact.StoreVersion,
	} {
		if value != "" {
			v[key] = value
		}
	}
	if fact.Shards != nil {
		shards := make([]any, len(fact.Shards))
		for i, shard := range fact.Shards {
			s := map[string]any{"id": shard.ID}
			if shard.Role != "" {
				s["role"] = shard.Role
			}
			if shard.Lag != nil {
				s["lag"] = map[string]any{"value": number(shard.Lag.Value), "unit": shard.Lag.Unit}
			}
			shards[i] = s
		}
		v["shards"] = shards
	}
	return v
}

// number is a number as expressions have it: a whole one can be computed with as such.
func number(value float64) any {
	if whole := int64(value); float64(whole) == value {
		return whole
	}
	return value
}

// allResults is results.<stage>.<step>[node] of the actions that have ended.
func (p *Plan) allResults() any {
	if p.expression.results != nil {
		return p.expression.results
	}
	p.expression.results = map[string]any{}
	for _, stage := range p.spec.Stages {
		steps := map[string]any{}
		for _, step := range slices.Concat(stage.Steps, stage.Rollback) {
			steps[step.Name] = map[string]any{}
		}
		for _, step := range stage.Rollback {
			steps[step.Name] = map[string]any{}
		}
		p.expression.results[stage.Name] = steps
	}
	for _, name := range p.names {
		n := p.nodes[name]
		for i := range n.rec.Actions {
			p.expression.addResult(n, &n.rec.Actions[i])
		}
	}
	return p.expression.results
}

// addResult puts an action's end where expressions find it.
func (v *expressionVars) addResult(n *node, a *record.Action) {
	steps, _ := v.results[a.Stage].(map[string]any)
	nodes, _ := steps[a.Step].(map[string]any)
	if nodes == nil || a.State.InFlight() {
		return
	}
	result := map[string]any{"state": string(a.State)}
	if a.Payload != nil {
		result["payload"] = map[string]any(a.Payload)
	}
	if a.Error != nil {
		message, _ := a.Error.Data["message"].(string) // the agent's
		result["error"] = map[string]any{"code": a.Error.Code, "message": message}
	}
	nodes[n.rec.Node] = result
}
