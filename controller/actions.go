package controller

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/internal/spelling"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

const (
	// maxAsked and askPatience bound the question of which actions agents know: to how many it is put, and how long a start waits for the
	// answers.
	maxAsked    = 64
	askPatience = time.Second
	// maxNamed is how many nodes, and maxListed how many actions, a refusal names.
	maxNamed  = 3
	maxListed = 20
)

// actionUse is a step that needs an action, and whether every node gets to it: neither targets nor when leave nodes out.
type actionUse struct {
	action, stage, step string
	everywhere          bool
}

// actionUses are the actions of a playbook, each once: by a step that every node gets to, if there is one.
func actionUses(spec *playbook.Spec) []actionUse {
	var uses []actionUse
	for _, everywhere := range []bool{true, false} {
		for _, stage := range spec.Stages {
			for _, step := range stage.Steps {
				known := slices.ContainsFunc(uses, func(u actionUse) bool { return u.action == step.Action })
				if !known && everywhere == (stage.Targets == nil && step.When == nil) {
					uses = append(uses, actionUse{step.Action, stage.Name, step.Name, everywhere})
				}
			}
		}
	}
	return uses
}

// checkActions refuses a run with an action that some node would surely get and does not know, or that no node knows. Nodes report their
// actions in their keys; before a refusal, and where a key does not report them, agents are asked. What agents of others know, which have
// no such answer, is not known: they are no reason for a refusal.
func (t *term) checkActions(ctx context.Context, spec *playbook.Spec, known []record.Node) error {
	uses := actionUses(spec)
	doubtful := doubtfulNodes(uses, known)
	if len(doubtful) == 0 {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	answers := t.shared.Inventory.AskActions(asking, doubtful)
	asked := map[string]bool{}
	for i := range doubtful {
		asked[doubtful[i].NodeID] = true
	}
	latest := slices.Clone(known)
	for i := range latest {
		if n := &latest[i]; asked[n.NodeID] {
			n.Kinds = answers[n.NodeID]
		}
	}
	if unknown := unknownActions(uses, latest, answers); len(unknown) > 0 {
		return &record.RejectedError{Code: record.CodeUnknownAction, Data: record.Document{
			"cluster": known[0].ClusterID, "unknown": unknown, "known": knownActions(answers)}}
	}
	return nil
}

// doubtfulNodes are those to ask: that lack an action by their keys, where that could be a reason to refuse it, and then those whose keys
// do not report any.
func doubtfulNodes(uses []actionUse, known []record.Node) []record.Node {
	var refusable []string
	for _, use := range uses {
		if use.everywhere || !anyKnows(known, use.action) {
			refusable = append(refusable, use.action)
		}
	}
	var lacking, silent []record.Node
	for i := range known {
		n := &known[i]
		switch {
		case !n.Present:
		case n.Kinds == nil:
			silent = append(silent, *n)
		case slices.ContainsFunc(refusable, func(action string) bool { return !slices.Contains(n.Kinds, action) }):
			lacking = append(lacking, *n)
		}
	}
	all := append(lacking, silent...)
	return all[:min(len(all), maxAsked)]
}

func anyKnows(nodes []record.Node, action string) bool {
	for i := range nodes {
		if slices.Contains(nodes[i].Kinds, action) {
			return true
		}
	}
	return false
}

// unknownActions are the actions to refuse. Of each, a node that lacks it has just said so.
func unknownActions(uses []actionUse, nodes []record.Node, answers map[string][]string) []any {
	var unknown []any
	for _, use := range uses {
		lacking, asked, undecided := 0, []any{}, false
		for i := range nodes {
			n := &nodes[i]
			if slices.Contains(n.Kinds, use.action) || n.Kinds == nil || use.everywhere && !n.Present {
				undecided = true
				continue
			}
			lacking++
			if answers[n.NodeID] != nil {
				asked = append(asked, n.NodeID)
			}
		}
		if len(asked) > 0 && (use.everywhere || !undecided) {
			one := map[string]any{"action": use.action, "stage": use.stage, "step": use.step,
				"nodes": asked[:min(len(asked), maxNamed)], "count": int64(lacking), "of": int64(len(nodes))}
			if meant := meantAction(use.action, answers); meant != "" {
				one["meant"] = meant
			}
			unknown = append(unknown, one)
		}
	}
	return unknown
}

// meantAction is the action that was probably meant by one that agents do not know, or "": one of the same name with another prefix, or
// of a similar name.
func meantAction(action string, answers map[string][]string) string {
	var names []string
	kinds := map[string]string{} // by name
	for _, kind := range sortedKinds(answers) {
		if name := actionName(kind); kind != action && kinds[name] == "" {
			names = append(names, name)
			kinds[name] = kind
		}
	}
	if kind := kinds[actionName(action)]; kind != "" {
		return kind
	}
	return kinds[spelling.Nearest(actionName(action), names)]
}

// actionName is an action without its prefix.
func actionName(action string) string {
	if _, name, prefixed := strings.Cut(action, "/"); prefixed {
		return name
	}
	return action
}

func sortedKinds(answers map[string][]string) []string {
	var kinds []string
	for _, answer := range answers {
		kinds = append(kinds, answer...)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// knownActions are some of the actions that the agents know which were asked.
func knownActions(answers map[string][]string) []any {
	listed := []any{}
	for _, kind := range sortedKinds(answers) {
		if len(listed) == maxListed {
			break
		}
		listed = append(listed, kind)
	}
	return listed
}
