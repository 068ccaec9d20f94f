//go:build integration

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/internal/etcd/embedded"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/mongo"
)

// TestAnUnsettledActionKeepsItsRun runs the real programs with a store in which finished runs are kept for a second. An agent is killed
// while its command runs. The run ends, and is kept, and so is its node, until an operator decides.
func TestAnUnsettledActionKeepsItsRun(t *testing.T) {
	storeURL, database, dir := testenv.Mongo(t), "unsettled-"+uuid.NewString(), t.TempDir()
	s, err := mongo.Open(mongo.Config{Config: store.Config{URL: storeURL, Database: database, FinishedTTL: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Init(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", dir+"/", ".", "../repliagent", "../replictl").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	etcd, err := embedded.Start(t.Context(), filepath.Join(dir, "etcd"), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	pids := filepath.Join(dir, "pids")
	agent := map[string]*exec.Cmd{}
	for _, id := range []string{"n1", "n2"} {
		agent[id] = program(t, dir, "repliagent", fmt.Sprintf(`
node: {id: %s, cluster: c}
api: {listen: %s}
etcd: {endpoints: [%s], lease_ttl: 5s}
data_dir: %s
actions:
  hold: {command: [/bin/sh, -c, 'echo $$ >> %s; exec sleep 300'], timeout: 10m}
`, id, freeAddress(t), etcd.Endpoint, filepath.Join(dir, id), pids), id)
	}
	listen := freeAddress(t)
	core := func() *exec.Cmd {
		return program(t, dir, "replicore", fmt.Sprintf(`
name: core-1
api: {listen: %s}
etcd: {endpoints: [%s], lease_ttl: 2s}
store: {url: "%s", database: %s}
`, listen, etcd.Endpoint, storeURL, database), "core", "server")
	}
	leader := core()
	ctl := tool{t, filepath.Join(dir, "replictl"), "http://" + listen}
	await(t, "the control plane knows the nodes", func() bool {
		var nodes []record.Node
		ctl.read(&nodes, "node", "list", "--cluster", "c")
		return len(nodes) == 2
	})
	ctl.apply("hold", "n1", "external.agent.replicante.io/hold")
	ctl.apply("quick", "n2", "agent.replicante.io/test.success")
	ctl.apply("again", "n1", "agent.replicante.io/test.success")

	waiting := exec.Command(ctl.program, "--server", ctl.server, "run", "start", "hold", "--cluster", "c", "--yes", "--wait")
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the command runs", func() bool { return len(lines(t, pids)) == 1 })
	command, err := strconv.Atoi(lines(t, pids)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(command, syscall.SIGKILL) })
	_ = agent["n1"].Process.Kill()
	_ = agent["n1"].Wait()
	if err := waiting.Wait(); waiting.ProcessState.ExitCode() != 3 {
		t.Fatalf("run start --wait: %v", err)
	}
	run := ctl.run("last")
	if run.State != record.RunFailed || run.EndTS == nil || run.FinishTS != nil || run.Waiting == nil || run.Waiting.Node != "n1" {
		t.Fatalf("it is %s, ended at %v, finished at %v, waiting %+v", run.State, run.EndTS, run.FinishTS, run.Waiting)
	}
	if syscall.Kill(command, 0) != nil {
		t.Error("the command does not run any longer: nothing was unsettled")
	}

	// A run that ends later expires; this one does not, under this leader and the next.
	_ = leader.Process.Kill()
	_ = leader.Wait()
	core()
	quick := ctl.start("quick")
	await(t, "a run that ended later expires", func() bool { return ctl.run(quick).ID == "" })
	var nodes []record.RunNode
	ctl.read(&nodes, "run", "nodes", run.ID)
	if kept := ctl.run(run.ID); kept.FinishTS != nil || kept.Unsettled != 1 || len(nodes) != 2 {
		t.Fatalf("%d unsettled, finished at %v, with %d node records", kept.Unsettled, kept.FinishTS, len(nodes))
	}
	out, _ := ctl.do("run", "get", run.ID)
	if !strings.Contains(out, "may still be running on node n1") || !strings.Contains(out, "run resolve "+run.ID+" n1") {
		t.Errorf("run get:\n%s", out)
	}
	again := ctl.start("again")
	await(t, "the node is kept from another run", func() bool {
		w := ctl.run(again).Waiting
		return w != nil && w.Node == "n1"
	})
	if _, err := ctl.do("run", "cancel", again); err != nil {
		t.Error(err)
	}

	if _, err := ctl.do("run", "resolve", run.ID, "n1", "FAILED", "--reason", "its machine is gone"); err != nil {
		t.Fatal(err)
	}
	await(t, "the run expires once it is settled", func() bool { return ctl.run(run.ID).ID == "" })
}

// tool runs replictl.
type tool struct {
	t               *testing.T
	program, server string
}

func (c tool) do(args ...string) (out string, err error) {
	var stdout, stderr bytes.Buffer
	command := exec.Command(c.program, append([]string{"--server", c.server}, args...)...)
	command.Stdout, command.Stderr = &stdout, &stderr
	if err = command.Run(); err != nil {
		err = fmt.Errorf("replictl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), err
}

// read leaves into as it is where the command fails.
func (c tool) read(into any, args ...string) {
	c.t.Helper()
	out, err := c.do(append(args, "-o", "json")...)
	if err != nil {
		return
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		c.t.Fatalf("replictl %s: %v", strings.Join(args, " "), err)
	}
}

// run is empty where there is no such run.
func (c tool) run(id string) (run record.Run) {
	c.t.Helper()
	c.read(&run, "run", "get", id)
	return run
}

func (c tool) start(playbook string) string {
	c.t.Helper()
	out, err := c.do("run", "start", playbook, "--cluster", "c", "--yes", "-o", "json")
	var run record.Run
	if err == nil {
		err = json.Unmarshal([]byte(out), &run)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return run.ID
}

// apply stores a playbook of one step on one node.
func (c tool) apply(name, node, action string) {
	c.t.Helper()
	command := exec.Command(c.program, "--server", c.server, "apply", "-f", "-")
	command.Stdin = strings.NewReader(fmt.Sprintf(`
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: %s}
spec:
  membership: {removed: ignore, grace: 1s}
  stages: [{name: one, targets: 'node.id == "%s"', health: none, steps: [{name: act, action: %s, timeout: 5m}]}]
`, name, node, action))
	if out, err := command.CombinedOutput(); err != nil {
		c.t.Fatalf("apply: %v\n%s", err, out)
	}
}
