package policy

import (
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// opening is what is decided about the nodes of the pass when a stage opens.
type opening struct {
	targets   []*node
	keys      map[*node]string // of the groups of targets
	others    []*node
	undecided []failedNode // it could not be decided about in time
}

// targets divides the nodes of the pass that the stage has not had yet into those that it is for, with their groups, the others, and those about
// which it could not be decided in time. It is false while that is waited for.
func (p *Plan) targets() (*opening, bool) {
	spec, key := p.stageSpec(), p.stageKey(ForTargets, nil)
	seen, ok := p.targetFacts(key)
	if !ok {
		return nil, false
	}
	o, waits, groups := &opening{keys: map[*node]string{}}, false, map[string]bool{}
	for _, name := range p.names {
		n := p.nodes[name]
		if !p.takesPart(n) || p.entryOf(n) != nil {
			continue
		}
		due, chosen := p.dueIn(n)
		if !due {
			continue
		}
		what, matches, group, err := p.targetOf(n, chosen, seen)
		switch {
		case errors.Is(err, playbook.ErrAbsent):
			if p.awaitFact(n, what, err) {
				waits = true
				continue
			}
			failed := undecidable(what, n, err)
			failed.Data["stage"], failed.Data["waited"] = spec.Name, p.patience(n).String()
			o.undecided = append(o.undecided, failedNode{n, failed})
		case err != nil:
			p.cancelRequest(key)
			p.failStage(&record.Error{Code: record.CodeExpression, Data: about{what: what, node: name}.data(spec.Name, err)})
			return nil, false
		case matches:
			o.targets, o.keys[n], groups[group] = append(o.targets, n), group, true
		default:
			o.others = append(o.others, n)
		}
	}
	if len(groups) > maxGroups {
		p.cancelRequest(key)
		p.failStage(&record.Error{Code: record.CodeExpression, Data: about{what: "groups"}.data(spec.Name,
			fmt.Errorf("%s makes %d groups; a stage may have %d", spec.Groups.By, len(groups), maxGroups))})
		return nil, false
	}
	if waits {
		p.spend(key)
		p.request(key, factsEvery, true) // where the expressions need no facts, only time
		return nil, false
	}
	return o, true
}

// targetOf decides whether the stage is for a node, unless that was chosen before, and the key of its group. What names the expression that failed.
func (p *Plan) targetOf(n *node, chosen bool, seen *facts) (what string, matches bool, group string, err error) {
	if targets := p.stageSpec().Targets; targets != nil && !chosen {
		if matches, err = targets.Bool(p.vars(n, seen)); err != nil || !matches {
			return "targets", false, "", err
		}
	}
	group, err = p.groupOf(n, seen)
	return "groups", true, group, err
}

// targetFacts are the facts on which the targets and their groups are decided, nil where none are needed. It is false while they are not there.
func (p *Plan) targetFacts(key FactKey) (*facts, bool) {
	spec := p.stageSpec()
	needs, all := spec.Targets.NeedsFacts(), spec.Targets.NeedsAllNodes()
	if spec.Groups != nil {
		needs, all = needs || spec.Groups.By.NeedsFacts(), all || spec.Groups.By.NeedsAllNodes()
	}
	if !needs && !all {
		return nil, true
	}
	var ask []string
	for _, name := range p.names {
		if p.takesPart(p.nodes[name]) {
			ask = append(ask, name)
		}
	}
	if len(ask) == 0 {
		p.cancelRequest(key)
		return nil, true
	}
	seen := p.request(key, factsEvery, all, ask...)
	return seen, seen != nil
}

// awaitFact has the stage wait for a fact of a node that decides about its targets, and is false once the patience is over.
func (p *Plan) awaitFact(n *node, what string, err error) bool {
	wait, since := &p.stage().Waiting, p.now
	if *wait != nil {
		since = (*wait).Since
	}
	until := since.Add(p.patience(n))
	if !p.now.Before(until) {
		return false
	}
	if *wait == nil || (*wait).Node == n.rec.Node || !p.now.Before(*(*wait).Until) {
		data := about{what: what, node: n.rec.Node}.data(p.stageSpec().Name, err)
		addStatus(data, &n.fact)
		p.replaceWait(wait, &record.Wait{For: record.WaitFacts, Since: since, Until: &until, Stage: p.stageSpec().Name, Node: n.rec.Node, Data: data})
	}
	return true
}
