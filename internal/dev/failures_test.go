package dev_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/dev"
	"github.com/replicante-io/playbooks/record"
)

func shell(script string) agent.Command { return agent.Command{Command: []string{"sh", "-c", script}} }

// startOwn applies a playbook of these stages and runs it on cluster own.
func startOwn(t *testing.T, plane *client.Client, name, stages string) (record.Run, error) {
	t.Helper()
	text := "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: " + name + "}\nspec:\n  stages:\n" + stages
	if _, err := plane.Apply(t.Context(), []client.File{{Name: name + ".yaml", Data: []byte(text)}}); err != nil {
		t.Fatal(err)
	}
	return plane.Start(t.Context(), record.RunRequest{Playbook: name, Cluster: "own"})
}

func TestAFailedActionIsNamedWithItsExitCodeAndItsLastLine(t *testing.T) {
	address := etcdAddress(t)
	guest(t, address, agent.Config{NodeID: "redis-3", Actions: map[string]agent.Command{
		"restart": shell("echo tried; echo '{\"n\": 1}' > \"$REPLICANTE_OUTPUT\"; echo trying >&2; echo could not connect to 10.0.0.1 >&2; exit 3"),
	}})
	life(t, dev.Config{Etcd: address}, func(plane *client.Client) {
		joined(t, plane, 1)
		run, err := startOwn(t, plane, "restart", `    - name: restart
      health: none
      steps: [{name: restart, action: external.agent.replicante.io/restart, retry: {attempts: 2, backoff: 1ms}}]
`)
		if err != nil {
			t.Fatal(err)
		}
		run = follow(t, plane, run.ID)
		const why = `exit code 3: "could not connect to 10.0.0.1"`
		texts := map[string]string{"run": run.Error.Message}
		nodes, err := plane.RunNodes(t.Context(), run.ID, nil, 0)
		if err != nil || len(nodes) != 1 {
			t.Fatalf("%+v, %v", nodes, err)
		}
		texts["node"] = nodes[0].Error.Message
		for i, a := range nodes[0].Actions {
			texts[fmt.Sprint("action of attempt ", a.Attempt)] = a.Error.Message
			last := i == len(nodes[0].Actions)-1 // of earlier attempts, the outputs are not kept
			if last && (a.StdoutTail != "tried\n" || !strings.HasPrefix(a.StderrTail, "trying\n") || a.Payload["n"] != int64(1)) || *a.ExitCode != 3 {
				t.Errorf("attempt %d is not kept: %+v", a.Attempt, a)
			}
		}
		if len(nodes[0].Actions) != 2 {
			t.Errorf("attempts: %+v", nodes[0].Actions)
		}
		events, err := plane.Events(t.Context(), run.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			switch e.Type {
			case record.EventActionRetry, record.EventActionFailed, record.EventNodeState, record.EventRunFinished:
				texts[string(e.Type)], _ = e.Data["message"].(string)
			}
		}
		for where, text := range texts {
			if !strings.Contains(text, why) {
				t.Errorf("%s: %q", where, text)
			}
		}
		if len(texts) != 8 {
			t.Errorf("%v", texts)
		}
		for _, where := range []string{"run", "node", string(record.EventNodeState), string(record.EventRunFinished)} {
			if !strings.Contains(texts[where], "step restart failed: "+why) {
				t.Errorf("%s: %q", where, texts[where])
			}
		}
	})
}

func TestAnUnknownActionIsRefusedBeforeTheRunStarts(t *testing.T) {
	address := etcdAddress(t)
	guest(t, address, agent.Config{NodeID: "redis-1", Actions: map[string]agent.Command{"restart": shell("true"), "promote": shell("true")}})
	guest(t, address, agent.Config{NodeID: "redis-2", Actions: map[string]agent.Command{"restart": shell("true")}})
	life(t, dev.Config{Etcd: address}, func(plane *client.Client) {
		joined(t, plane, 2)
		for name, c := range map[string]struct{ stage, refused string }{
			"misspelled": {"steps: [{name: restart, action: external.agent.replicante.io/restrat}]", "is not known to 2 of 2 nodes of cluster own: redis-1 and redis-2 (did you mean external.agent.replicante.io/restart?)"},
			"on-one":     {"steps: [{name: promote, action: external.agent.replicante.io/promote}]", "is not known to 1 of 2 nodes of cluster own: redis-2"},
			"targeted":   {"targets: 'node.id == \"redis-1\"'\n      steps: [{name: promote, action: external.agent.replicante.io/promote}]", ""},
		} {
			run, err := startOwn(t, plane, name, "    - name: one\n      health: none\n      "+c.stage+"\n")
			var refused *client.Error
			switch {
			case c.refused != "" && (!errors.As(err, &refused) || refused.Code != record.CodeUnknownAction || refused.Status != http.StatusUnprocessableEntity ||
				!strings.Contains(refused.Message, c.refused)):
				t.Errorf("%s: %v", name, err)
			case c.refused == "" && err != nil:
				t.Errorf("%s: %v", name, err)
			case c.refused == "":
				if run = follow(t, plane, run.ID); run.State != record.RunDone {
					t.Errorf("%s: %s %+v", name, run.State, run.Error)
				}
			}
		}
		if runs, err := plane.Runs(t.Context(), client.RunFilter{Cluster: "own"}); err != nil || len(runs) != 1 {
			t.Errorf("%d runs, %v", len(runs), err)
		}
	})
}
