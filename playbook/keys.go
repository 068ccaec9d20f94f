package playbook

import (
	"regexp"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/internal/keys"
)

// Keys are the keys of a document of that kind; nil for an unknown kind. The parser reads documents by this table, and it has everything about
// them that can be said without evaluating expressions or comparing one key with another.
func Keys(kind string) *keys.Mapping {
	return map[string]*keys.Mapping{kindPlaybook: playbookKeys, kindSchedule: scheduleKeys, kindFreeze: freezeKeys}[kind]
}

const (
	apiVersion = "replicante.io/v1"

	kindPlaybook = "Playbook"
	kindSchedule = "Schedule"
	kindFreeze   = "Freeze"

	maxLine        = 256  // of names and the like, in characters
	maxDescription = 4096 // characters
	maxName        = 63
	maxParams      = 100
	maxStages      = 100
	maxSteps       = 100 // of a stage
	maxBatch       = 100 // entries of a batch list
	maxParts       = 20  // of a check
	maxAttempts    = 100
	maxCount       = 1_000_000 // of nodes: far more than any cluster has, and far less than what overflows Of

	minDuration = time.Millisecond // the precision of stored times
	maxDuration = 30 * 24 * time.Hour
)

var (
	dnsLabel  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	plainName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	// actionKind is what an action may be called. It is wide because agents written by others choose their own names.
	actionKind = regexp.MustCompile(`^[!-~]+$`)
	notBlank   = regexp.MustCompile(`\S`)
	// notOneWord is a text that can be an expression, unlike none.
	notOneWord = regexp.MustCompile(`[^\w\s]|\S\s|\s\S`)
)

var (
	lineValue        = keys.Text{Most: maxLine}
	textValue        = keys.Text{Most: maxDescription}
	nameValue        = keys.Text{Most: maxName, Pattern: plainName}
	exprValue        = keys.Text{Most: maxExpression, Pattern: notBlank}
	partsValue       = keys.Map{Of: exprValue, Names: plainName, Least: 1, Most: maxParts}
	checkValue       = keys.OneOf{exprValue, partsValue}
	timeValue        = keys.Duration{Least: minDuration, Most: maxDuration}
	pauseValue       = keys.Duration{Most: maxDuration}
	sizeValue        = keys.Amount{Least: 1, Most: maxCount}
	limitValue       = keys.Amount{Most: maxCount}
	consecutiveValue = keys.List{Of: keys.Text{Most: maxName}, Items: "stages", Most: maxStages}
	togetherValue    = keys.List{Of: consecutiveValue, Items: "lists of stages", Most: maxStages}
	labelsValue      = keys.Map{Of: lineValue, Names: regexp.MustCompile(`.`)}
	stepsValue       = keys.List{Of: stepKeys, Items: "steps", Most: maxSteps}
)

// renamed are former names of keys, for the message about an unknown key.
var renamed = map[string]string{"order": "order_by", "pause": "batch_pause", "within": "groups"}

// document are the keys of a document. Does is the hint where it has no spec.
func document(kind, about, does string, metadata, spec *keys.Mapping) *keys.Mapping {
	return &keys.Mapping{Title: kind, About: about, Ignored: "x-", Renamed: renamed, Keys: []keys.Key{
		{Name: "apiVersion", Type: keys.Choice{apiVersion}, Required: "write apiVersion: " + apiVersion, About: "The version of the language."},
		{Name: "kind", Type: keys.Choice{kind}, Required: "write kind: " + kind, About: "What the document is."},
		{Name: "metadata", Type: metadata, Required: "give it a name: {name: my-" + strings.ToLower(kind) + "}", About: "The name, and what else is for people."},
		{Name: "spec", Type: spec, Required: does, About: "What it does."},
	}}
}

var playbookKeys = document(kindPlaybook, "An operation over the nodes of a cluster.", "it describes what the playbook does", metadataKeys, specKeys)

var metadataKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "name", Type: dnsValue, Required: "write name: my-playbook",
			About: "The name of the playbook: lower-case letters, digits and -. The same name again is a new revision."},
		{Name: "version", Type: lineValue, About: "A version, for people."},
		{Name: "source", Type: sourceKeys, About: "Where the text is kept, for people."},
		{Name: "labels", Type: labelsValue, About: "Labels, for people."},
	},
}

var sourceKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "repository", Type: textValue, About: "The URL of the repository."},
		{Name: "commit", Type: lineValue, About: "The commit."},
		{Name: "path", Type: textValue, About: "The path of the file in the repository."},
	},
}

var specKeys = &keys.Mapping{
	About:   "it describes what the playbook does",
	Renamed: renamed,
	Keys: []keys.Key{
		{Name: "description", Type: textValue, About: "What the playbook does, for people."},
		{Name: "params", Type: keys.List{Of: paramKeys, Items: "params", Most: maxParams, Empty: true}, About: "Values that are given when a run starts; expressions see them as params."},
		{Name: "concurrency", Type: keys.Choice{"exclusive", "shared"}, Default: "exclusive",
			About: "exclusive: no other run of the cluster at the same time; shared: at the same time as other shared runs."},
		{Name: "membership", Type: membershipKeys, About: "What happens when a node appears or disappears during a run."},
		{Name: "windows", Type: windowsValue, About: "When batches may open; without it, always. What is in flight ends all the same."},
		{Name: "stages", Type: keys.List{Of: stageKeys, Items: "stages", Most: maxStages}, Required: "a playbook needs at least one stage",
			About: "The stages, which run one after the other."},
		{Name: "approval", Type: approvalValue, Default: approvalNone, About: "An operator has to approve the run before it begins: none, required, or a mapping with message, timeout and on_timeout."},
		{Name: "timeout", Type: timeValue, About: "How long the run may take: then it pauses. Time in which it is queued or paused, or waits for an approval, a window or a freeze, does not count."},
		{Name: "together", Type: togetherValue,
			About: "Lists of consecutive stages between which nothing stops: no pause, cancel, window, freeze or timeout."},
	},
}

var paramKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "name", Type: nameValue, Required: "a param needs a name", About: "The name: lower-case letters, digits and _."},
		{Name: "type", Type: keys.Choice{typeString, typeInt, typeFloat, typeBool, typeDuration, typeList, typeMap},
			Required: "one of string, int, float, bool, duration, list, map", About: "The type of the value."},
		{Name: "required", Type: keys.Bool{}, Default: false, About: "Whether the value has to be given."},
		{Name: "default", Type: keys.Any{}, About: "The value where none is given; of the type."},
	},
}

var membershipKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "added", Type: keys.Choice{"include", "ignore", "pause", "fail"}, Default: string(AddedInclude),
			About: "A node that appears: include it in all stages that are for it, ignore it in this run, pause the run, or fail it."},
		{Name: "removed", Type: keys.Choice{"ignore", "pause", "fail"}, Default: string(RemovedPause),
			About: "A node that was removed: continue without it, pause the run, or fail it."},
		{Name: "grace", Type: timeValue, About: "How long a node may be gone before it counts as removed, and how long one that does not answer is waited for. Default: membership.grace of the control plane."},
	},
}

var approvalValue = keys.OneOf{keys.Choice{approvalNone, approvalRequired}, approvalKeys}

var approvalKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "message", Type: textValue, About: "What the operator is asked: a text that may contain ${…} over params and run."},
		{Name: "timeout", Type: timeValue, About: "How long the approval is waited for. Default: without end."},
		{Name: "on_timeout", Type: keys.Choice{"reject", "approve"}, Default: string(TimeoutReject), About: "What follows then: reject or approve."},
	},
}

var stageKeys = &keys.Mapping{
	Renamed: renamed,
	Keys: []keys.Key{
		{Name: "name", Type: nameValue, Required: "a stage needs a name", About: "The name: lower-case letters, digits and _."},
		{Name: "targets", Type: exprValue, About: "Which nodes the stage is for: an expression, decided when the stage starts. Default: all nodes."},
		{Name: "order_by", Type: exprValue, About: "In which order: an expression, smallest first (false before true), decided again before each batch. Default: by id."},
		{Name: "groups", Type: groupKeys, About: "Which nodes belong together: a batch never has nodes of two groups."},
		{Name: "pick", Type: keys.OneOf{countValue, pickKeys}, About: "How many of the nodes are enough: a count, or a mapping with count and at_least. Default: all."},
		{Name: "allow_empty", Type: keys.Bool{}, Default: false, About: "Whether the stage may be for no node at all."},
		{Name: "batch", Type: keys.OneOf{sizeValue, keys.List{Of: sizeValue, Items: "sizes", Most: maxBatch}}, Default: 1,
			About: "How many nodes at a time: a count, a percentage of the stage's nodes, or a list of them whose last entry repeats; in a stage with groups, of each group."},
		{Name: "max_failures", Type: limitValue, Default: 0, About: "How many nodes may fail and the stage still continues: a count or a percentage of the stage's nodes."},
		{Name: "max_unavailable", Type: sizeValue, About: "How many nodes of the cluster may be out at the same time when a batch opens: a count or a percentage of its known nodes."},
		{Name: "guard", Type: keys.OneOf{exprValue, guardKeys}, About: "What must hold before a batch opens: an expression over the cluster, or a mapping with check, timeout and on_timeout."},
		{Name: "approval", Type: approvalValue, Default: approvalNone, About: "An operator has to approve the stage before it starts: none, required, or a mapping with message, timeout and on_timeout."},
		{Name: "health", Type: keys.OneOf{keys.Choice{"none"}, keys.Text{Most: maxExpression, Pattern: notOneWord}, healthKeys},
			About: "What must hold for all nodes of a batch after their steps: none, an expression, or a mapping. Default: nodes that were HEALTHY before are so again."},
		{Name: "steps", Type: stepsValue, Required: "a stage needs at least one step", About: "What is done on each node, one step after the other."},
		{Name: "batch_pause", Type: pauseValue, Default: time.Duration(0), About: "Time between two batches, after the health check."},
		{Name: "rollback", Type: stepsValue, About: "Steps that undo the stage, on the nodes that it has touched."},
		{Name: "on_failure", Type: keys.Choice{"abort", "continue", "pause", "rollback", "rollback_run"}, Default: string(FailureAbort),
			About: "What to do when more nodes failed than max_failures: end the run, ignore the limit, pause, or roll back this stage or every stage so far."},
		{Name: "always", Type: keys.Bool{}, Default: false, About: "Whether the stage runs at the end of the run, whatever happened before; its on_failure is continue by default."},
	},
}

var groupKeys = &keys.Mapping{
	Renamed: renamed,
	Keys: []keys.Key{
		{Name: "by", Type: exprValue, Required: "an expression such as node.attributes.zone", About: "Nodes for which this expression has the same value are one group."},
		{Name: "at_once", Type: sizeValue, Default: 1, About: "How many groups are worked on at the same time: a count or a percentage of the groups."},
	},
}

var countValue = keys.Int{Least: 1, Most: maxCount}

var pickKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "count", Type: countValue, Required: "how many nodes are enough", About: "With so many nodes done, the stage is done."},
		{Name: "at_least", Type: countValue, About: "With fewer the stage fails; at most count. Default: count."},
	},
}

var guardKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "check", Type: checkValue, Required: "it must hold before a batch opens", About: "An expression over the cluster, or several by name."},
		{Name: "timeout", Type: timeValue, Default: time.Hour, About: "How long to wait for it."},
		{Name: "on_timeout", Type: keys.Choice{"pause", "fail"}, Default: string(TimeoutPause), About: "What follows then: pause the run, or fail it."},
	},
}

var healthKeys = &keys.Mapping{
	Renamed: renamed,
	Keys: []keys.Key{
		{Name: "check", Type: checkValue, About: "An expression over each node of the batch, or several by name. Default: the node is HEALTHY, if it was before its batch."},
		{Name: "timeout", Type: timeValue, Default: 2 * time.Minute, About: "How long nodes may take; those that are not healthy then have failed."},
		{Name: "interval", Type: timeValue, Default: 2 * time.Second, About: "How often the facts are read."},
		{Name: "settle", Type: pauseValue, Default: time.Duration(0), About: "For how long the check must hold without interruption; shorter than timeout."},
	},
}

var stepKeys = &keys.Mapping{
	Renamed: renamed,
	Keys: []keys.Key{
		{Name: "name", Type: nameValue, Required: "a step needs a name", About: "The name, unique in the stage: lower-case letters, digits and _."},
		{Name: "action", Type: keys.Text{Most: maxLine, Pattern: actionKind}, Required: "a step needs an action", About: "What the agent runs: external.agent.replicante.io/<name> is the command of that name in its configuration."},
		{Name: "args", Type: keys.Map{Of: keys.Any{}}, About: "Arguments of the action; texts in them may contain ${…}."},
		{Name: "when", Type: exprValue, About: "Where this expression is false, the node skips the step. Default: always."},
		{Name: "expect", Type: exprValue, About: "Whether an action that ran to its end has succeeded: an expression over result. Default: the action's own success."},
		{Name: "timeout", Type: timeValue, Default: 10 * time.Minute, About: "How long one attempt may take."},
		{Name: "retry", Type: retryKeys, About: "How often the step is tried."},
		{Name: "on_unknown", Type: keys.Choice{"fail", "retry", "health"}, Default: string(UnknownFail),
			About: "What to do when it stays unknown how the action ended: leave it to an operator, try again, or ask the health check."},
	},
}

var retryKeys = &keys.Mapping{
	Keys: []keys.Key{
		{Name: "attempts", Type: keys.Int{Least: 1, Most: maxAttempts}, Default: 1, About: "How many attempts there are in all."},
		{Name: "backoff", Type: pauseValue, Default: 5 * time.Second, About: "The wait before the second attempt; it doubles each time."},
		{Name: "max_backoff", Type: pauseValue, Default: time.Minute, About: "The longest wait; at least backoff."},
	},
}
