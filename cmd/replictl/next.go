package main

import (
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/record"
)

// suggestion is a command line that may be typed next.
type suggestion struct{ purpose, command string }

func (s suggestion) String() string { return "to " + s.purpose + ": replictl " + s.command }

// suggest prints suggestions beside the output.
func (t *tool) suggest(suggestions []suggestion) {
	for _, s := range suggestions {
		t.note("  %s", s)
	}
}

// notFound is the code of the API for a thing that does not exist, whatever it is.
const notFound = "not_found"

// afterError is what may be typed after an answer with an error code to the command at path (as "replictl run get") with args.
func afterError(code, path string, args []string, cluster string) []suggestion {
	path = strings.TrimPrefix(path, "replictl ")
	subject := "NAME"
	if len(args) > 0 {
		subject = args[0]
	}
	group, _, _ := strings.Cut(path, " ")
	switch {
	case code == record.CodePlaybookNotFound, code == notFound && (group == "playbook" || path == "run start" || path == "plan"):
		return []suggestion{{"store it", "apply -f FILE"}, {"see what is stored", "playbook list"}}
	case code == record.CodeNoNodes, code == notFound && (path == "node list" || path == "run list"):
		return []suggestion{{"see the clusters with known nodes", "cluster list"}}
	case code == record.CodeUnknownAction:
		return []suggestion{{"see the actions that a node has", "node get NODE --cluster " + cluster}}
	case code == notFound && (group == "schedule" || group == "freeze"):
		return []suggestion{{"see the " + group + "s", group + " list"}}
	case code == notFound && group == "node":
		return []suggestion{{"see the known nodes", "node list --cluster " + cluster}}
	case code == notFound && path == "run resolve":
		return []suggestion{{"see the runs", "run list"}, {"see the nodes of the run", "run nodes " + subject}}
	case code == notFound && group == "run":
		return []suggestion{{"see the runs", "run list"}}
	case code == record.CodeFrozen:
		return []suggestion{{"see the freezes", "freeze list"}, {"start it all the same", "run start " + subject + " --cluster " + cluster + " --override-freeze --reason WHY"}}
	case code == record.CodeClusterBusy:
		return []suggestion{{"see the runs of the cluster", "run list --cluster " + cluster}}
	case code == record.CodeWrongState && path == "run resolve":
		return []suggestion{{"see the nodes of the run", "run nodes " + subject}}
	case code == record.CodeWrongState:
		return []suggestion{{"see its state", "run get " + subject}}
	case code == record.CodeBadParams:
		return []suggestion{{"see the params of the playbook", "playbook get " + subject}}
	}
	return nil
}

// waitsForApproval tells whether the run, or a stage of it, waits for an approval.
func waitsForApproval(run *record.Run) bool {
	return run.State == record.RunPendingApprove || run.Waiting != nil && run.Waiting.For == record.WaitApproval && !run.State.Final()
}

// afterRun is what may be typed about a run in the state that v shows.
func afterRun(v view) []suggestion {
	run := &v.run
	var all []suggestion
	add := func(purpose, command string) {
		s := suggestion{purpose, command}
		if !slices.ContainsFunc(all, func(other suggestion) bool { return other.command == command }) {
			all = append(all, s)
		}
	}
	resolve := func(runID, node, purpose string) {
		add(purpose, "run resolve "+runID+" "+node+" DONE|FAILED --reason WHY")
	}
	if run.State == record.RunPaused {
		add("resume it", "run resume "+run.ID)
		add("end it", "run cancel "+run.ID)
	}
	if waitsForApproval(run) {
		stage := ""
		if run.Waiting != nil && run.Waiting.Stage != "" {
			stage = " --stage " + run.Waiting.Stage
		}
		add("approve it", "run approve "+run.ID+stage)
		add("reject it, which ends the run", "run reject "+run.ID+stage+" --reason WHY")
	}
	const afterALook = ", after a look at it"
	unknown := []string{}
	for _, node := range v.unwell {
		if node.State == record.NodeUnknown {
			unknown = append(unknown, node.Node)
		}
		if e := node.Error; e != nil && e.Code == record.CodeUnsettled && text(e.Data, "run") != "" {
			resolve(text(e.Data, "run"), node.Node, "release node "+node.Node+afterALook)
		}
	}
	switch {
	case len(unknown) == 1:
		resolve(run.ID, unknown[0], "decide how node "+unknown[0]+" ended"+afterALook)
	case len(unknown) > 1:
		resolve(run.ID, "NODE", "decide how an UNKNOWN node ended"+afterALook)
	}
	if w := run.Waiting; w != nil && w.For == record.WaitUnsettled && w.Node != "" {
		runID := text(w.Data, "run")
		if runID == "" {
			runID = run.ID
		}
		resolve(runID, w.Node, "stop waiting for node "+w.Node+afterALook)
	}
	return all
}
