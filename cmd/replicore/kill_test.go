//go:build integration

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/etcd/embedded"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
)

const (
	killNodes = 3
	killSteps = 4
	killTimes = 5
)

// TestEachActionStartsOnceThoughTheOnlyReplicaIsKilled runs the real programs. The agents' command appends the ID of its action
// to a file; the replica is killed each time that the file has grown, at different moments of the action.
func TestEachActionStartsOnceThoughTheOnlyReplicaIsKilled(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/", "../replicore", "../repliagent")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	etcd, err := embedded.Start(t.Context(), filepath.Join(dir, "etcd"), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	starts := filepath.Join(dir, "starts")
	for i := range killNodes {
		id := fmt.Sprintf("n%d", i)
		program(t, dir, "repliagent", fmt.Sprintf(`
node: {id: %s, cluster: c, attributes: {zone: a}}
api: {listen: %s}
etcd: {endpoints: [%s], lease_ttl: 5s}
data_dir: %s
actions:
  append: {command: [/bin/sh, -c, 'echo "$REPLICANTE_ACTION_ID" >> %s && sleep 0.2'], timeout: 30s}
probe: {command: [/bin/echo, '{"status": "HEALTHY", "role": "SECONDARY"}'], interval: 1s}
`, id, freeAddress(t), etcd.Endpoint, filepath.Join(dir, id), starts), id)
	}
	listen := freeAddress(t)
	core := func() *exec.Cmd {
		return program(t, dir, "replicore", fmt.Sprintf(`
name: core-1
api: {listen: %s}
etcd: {endpoints: [%s], lease_ttl: 2s}
store: {url: "sqlite://%s/core.db"}
`, listen, etcd.Endpoint, dir), "core", "server")
	}
	running := core()
	api, err := client.New(client.Config{Servers: []string{"http://" + listen}, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the control plane knows the nodes", func() bool {
		nodes, err := api.Nodes(t.Context(), "c")
		return err == nil && len(nodes) == killNodes
	})
	if _, err := api.Apply(t.Context(), []client.File{{Name: "append.yaml", Data: []byte(appendPlaybook(2, killSteps))}}); err != nil {
		t.Fatal(err)
	}
	run, err := api.Start(t.Context(), record.RunRequest{Playbook: "append", Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range killTimes {
		seen := len(lines(t, starts))
		await(t, "another action starts", func() bool { return len(lines(t, starts)) > seen })
		<-time.After(time.Duration(i) * 60 * time.Millisecond) // between its start and some time after its end
		_ = running.Process.Kill()
		_ = running.Wait()
		running = core()
	}
	err = api.Follow(t.Context(), run.ID, 0, func(e record.Event) error {
		if e.Type == record.EventRunFinished {
			return context.Canceled
		}
		return nil
	})
	if err == nil || !errors.Is(err, context.Canceled) {
		t.Fatalf("follow: %v", err)
	}
	if run, err = api.Run(t.Context(), run.ID); err != nil || run.State != record.RunDone || run.Term != killTimes+1 {
		t.Errorf("the run is %s in term %d, %v", run.State, run.Term, err)
	}

	var saved []string
	nodes, err := api.RunNodes(t.Context(), run.ID, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		for _, action := range node.Actions {
			saved = append(saved, action.ID)
		}
	}
	started := lines(t, starts)
	slices.Sort(saved)
	slices.Sort(started)
	if !slices.Equal(saved, started) || len(slices.Compact(slices.Clone(started))) != killNodes*killSteps {
		t.Errorf("started:\n%s\nsaved:\n%s", strings.Join(started, "\n"), strings.Join(saved, "\n"))
	}
}

// appendPlaybook is a playbook with this batch size and number of steps.
func appendPlaybook(batch, steps int) string {
	text := fmt.Sprintf(`
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: append}
spec:
  stages:
    - name: work
      batch: %d
      steps:
`, batch)
	for i := range steps {
		text += fmt.Sprintf("        - {name: s%d, action: external.agent.replicante.io/append}\n", i)
	}
	return text
}

// program starts a program with a configuration file, until the test ends.
func program(t *testing.T, dir, name, yaml, as string, args ...string) *exec.Cmd {
	t.Helper()
	file := filepath.Join(dir, as+".yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(dir, as+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(filepath.Join(dir, name), append(args, "--config", file)...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s:\n%s", as, text)
		}
	})
	return command
}

// freeAddress is an address that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
