package main

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/record"
)

func commandsOf(suggestions []suggestion) string {
	commands := []string{}
	for _, s := range suggestions {
		commands = append(commands, s.command)
	}
	return strings.Join(commands, "; ")
}

func TestAnErrorIsFollowedByCommandsThatHelp(t *testing.T) {
	for _, c := range []struct{ code, path, arg, want string }{
		{record.CodePlaybookNotFound, "run start", "restart", "apply -f FILE; playbook list"},
		{notFound, "run start", "restart", "apply -f FILE; playbook list"},
		{notFound, "playbook get", "restart", "apply -f FILE; playbook list"},
		{record.CodeNoNodes, "run start", "restart", "cluster list"},
		{notFound, "node list", "", "cluster list"},
		{notFound, "node get", "a", "node list --cluster orders"},
		{notFound, "run get", "0195", "run list"},
		{notFound, "run resolve", "0195", "run list; run nodes 0195"},
		{record.CodeWrongState, "run resume", "0195", "run get 0195"},
		{record.CodeClusterBusy, "run start", "restart", "run list --cluster orders"},
		{record.CodeBadParams, "run start", "restart", "playbook get restart"},
		{"internal", "run start", "restart", ""},
	} {
		args := []string{c.arg}
		if c.arg == "" {
			args = nil
		}
		if got := commandsOf(afterError(c.code, "replictl "+c.path, args, "orders")); got != c.want {
			t.Errorf("%s after %s: %q, wanted %q", c.code, c.path, got, c.want)
		}
	}
}

func TestARunThatNeedsAnOperatorIsFollowedByCommands(t *testing.T) {
	unknown := func(name string) record.RunNode { return record.RunNode{Node: name, State: record.NodeUnknown} }
	locked := record.RunNode{Node: "c", State: record.NodeFailed, Error: &record.Error{Code: record.CodeUnsettled,
		Data: record.Document{"run": "r0", "node": "c"}}}
	for name, c := range map[string]struct {
		run    record.Run
		unwell []record.RunNode
		want   string
	}{
		"running":       {record.Run{State: record.RunRunning}, nil, ""},
		"failed":        {record.Run{State: record.RunFailed}, []record.RunNode{{Node: "a", State: record.NodeFailed}}, ""},
		"paused":        {record.Run{State: record.RunPaused}, nil, "run resume r1; run cancel r1"},
		"one unknown":   {record.Run{State: record.RunFailed}, []record.RunNode{unknown("a")}, "run resolve r1 a DONE|FAILED --reason WHY"},
		"two unknown":   {record.Run{State: record.RunFailed}, []record.RunNode{unknown("a"), unknown("b")}, "run resolve r1 NODE DONE|FAILED --reason WHY"},
		"other run's":   {record.Run{State: record.RunFailed}, []record.RunNode{locked}, "run resolve r0 c DONE|FAILED --reason WHY"},
		"waits for one": {record.Run{State: record.RunRunning, Waiting: &record.Wait{For: record.WaitUnsettled, Node: "a"}}, nil, "run resolve r1 a DONE|FAILED --reason WHY"},
		"waits for another run's": {record.Run{State: record.RunRunning, Waiting: &record.Wait{For: record.WaitUnsettled, Node: "c",
			Data: record.Document{"run": "r0"}}}, nil, "run resolve r0 c DONE|FAILED --reason WHY"},
	} {
		c.run.ID = "r1"
		if got := commandsOf(afterRun(view{run: c.run, unwell: c.unwell})); got != c.want {
			t.Errorf("%s: %q, wanted %q", name, got, c.want)
		}
	}
}
