package policy

import (
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

func (o *observation) fact(name string) *record.Node {
	if o == nil {
		return nil
	}
	return o.facts[name]
}

// vars is what an expression about n sees; what a node has not said is not in it.
func (p *Plan) vars(n *node, seen *observation) playbook.Vars {
	vars := playbook.Vars{"params": map[string]any(p.run.Params), "run": p.runVar, "results": p.resultVars()}
	if n != nil {
		fact := seen.fact(n.rec.Node)
		if fact == nil {
			fact = &n.fact
		}
		vars["node"] = p.nodeVar(n.rec.Node, fact)
	}
	if seen != nil {
		if seen.all == nil {
			seen.all = make([]any, 0, len(seen.facts))
			for _, name := range sortedKeys(seen.facts) {
				seen.all = append(seen.all, p.nodeVar(name, seen.facts[name]))
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
	if fact.Status != record.StatusUnreachable {
		shards := make([]any, len(fact.Shards))
		for i, shard := range fact.Shards {
			s := map[string]any{"id": shard.ID, "role": shard.Role}
			if shard.Lag != nil {
				s["lag"] = map[string]any{"value": shard.Lag.Value, "unit": shard.Lag.Unit}
			}
			shards[i] = s
		}
		v["shards"] = shards
	}
	return v
}

// resultVars is results.<stage>.<step>[node]: built once when an expression first asks, then kept up by note.
func (p *Plan) resultVars() map[string]any {
	if p.results == nil {
		p.results = map[string]any{}
		for _, stage := range p.spec.Stages {
			steps := map[string]any{}
			for _, step := range stage.Steps {
				steps[step.Name] = map[string]any{}
			}
			p.results[stage.Name] = steps
		}
		for _, name := range p.names {
			n := p.nodes[name]
			for i := range n.rec.Actions {
				p.note(n, &n.rec.Actions[i])
			}
		}
	}
	return p.results
}

// note keeps an action's end where expressions find it.
func (p *Plan) note(n *node, a *record.Action) {
	if p.results == nil || a.State.InFlight() {
		return
	}
	steps, _ := p.results[a.Stage].(map[string]any)
	nodes, _ := steps[a.Step].(map[string]any)
	if nodes == nil {
		return
	}
	result := map[string]any{"state": string(a.State)}
	if a.Payload != nil {
		result["payload"] = map[string]any(a.Payload)
	}
	if a.Error != nil {
		result["error"] = map[string]any{"code": a.Error.Code, "message": a.Error.Message}
	}
	nodes[n.rec.Node] = result
}
