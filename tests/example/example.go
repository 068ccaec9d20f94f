//go:build integration

// Package example follows an example as a user would: it runs the scripts of the example's folder, beside a control plane that can be killed.
package example

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

// patience bounds everything that a test waits for.
const patience = 5 * time.Minute

// Example is an example with its control plane. The test runs in the example's folder. The scripts setup.sh, start.sh and stop.sh, of this
// folder or of another example, keep what they create in $DIR.
type Example struct {
	T     *testing.T
	Dir   string // $DIR
	Plane *client.Client

	cluster string
	dir     string // of everything
	bin     string // of the programs
	env     []string
	flags   []string
	process *cluster.Process
	run     string // id
}

// New builds the programs and starts the control plane and, by the scripts, the nodes of a cluster. env is for the scripts.
func New(t *testing.T, clusterID string, nodes int, env ...string) *Example {
	return NewOn(t, ".", clusterID, nodes, env...)
}

// NewOn is New with the scripts of another folder: for an example that uses the servers of another one.
func NewOn(t *testing.T, folder, clusterID string, nodes int, env ...string) *Example {
	x := &Example{T: t, cluster: clusterID, dir: t.TempDir()}
	if err := os.Chmod(x.dir, 0o755); err != nil { // servers may run as another user
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(x.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	x.Dir = filepath.Join(x.dir, "nodes")
	var err error
	x.bin, err = filepath.Abs("../../.cache/examples") // what has not changed since the last test is not linked again
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-ldflags=-w", "-o", x.bin+"/", "../../cmd/replicore", "../../cmd/repliagent")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	etcd, api := testenv.FreePort(t), testenv.FreePort(t)
	x.env = slices.Concat(os.Environ(), []string{"BIN=" + x.bin, "DIR=" + x.Dir, fmt.Sprintf("ETCD=http://127.0.0.1:%d", etcd),
		"AGENT_PORTS=" + Ports(t, nodes)}, env)
	x.flags = []string{"dev", "--agents", "0", "--data", filepath.Join(x.dir, "plane"), "--log-level", "info",
		"--listen", fmt.Sprintf("127.0.0.1:%d", api), "--etcd-listen", fmt.Sprintf("127.0.0.1:%d", etcd)}
	if x.Plane, err = client.New(client.Config{Servers: []string{fmt.Sprintf("http://127.0.0.1:%d", api)}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.logOutput)
	x.StartPlane()
	x.Script(folder + "/setup.sh")
	t.Cleanup(func() { x.Script(folder + "/stop.sh") })
	x.Script(folder + "/start.sh")
	x.Await("the agents to be known", func() error {
		known, err := x.Plane.Nodes(t.Context(), clusterID)
		if err == nil && len(known) != nodes {
			err = fmt.Errorf("there are %d nodes", len(known))
		}
		for _, n := range known {
			if err == nil && n.Status != record.StatusHealthy {
				err = fmt.Errorf("%s is %s: %s", n.NodeID, n.Status, n.StatusReason)
			}
		}
		return err
	})
	return x
}

// Ports are free ports, as the scripts take them.
func Ports(t *testing.T, count int) string {
	t.Helper()
	ports := make([]string, count)
	for i := range ports {
		ports[i] = strconv.Itoa(testenv.FreePort(t))
	}
	return strings.Join(ports, " ")
}

// logOutput logs the output of all programs if the test has failed.
func (x *Example) logOutput() {
	if !x.T.Failed() {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(x.Dir, "*/*.log"))
	histories, _ := filepath.Glob(filepath.Join(x.Dir, "*/history"))
	for _, name := range slices.Concat([]string{filepath.Join(x.dir, "plane.log")}, logs, histories) {
		data, _ := os.ReadFile(name)
		x.T.Logf("%s:\n%s", name, data[max(0, len(data)-10_000):])
	}
}

// Script runs one of the example's scripts. What it starts keeps running.
func (x *Example) Script(name string, args ...string) {
	x.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := os.CreateTemp(x.dir, filepath.Base(name))
	if err != nil {
		x.T.Fatal(err)
	}
	defer out.Close()
	command := exec.CommandContext(ctx, "./"+name, args...)
	command.Env, command.Stdout, command.Stderr = x.env, out, out
	if err := command.Run(); err != nil {
		output, _ := os.ReadFile(out.Name())
		x.T.Errorf("%s: %v\n%s", name, err, output)
	}
}

// StartPlane starts the control plane and waits until it leads.
func (x *Example) StartPlane() {
	x.T.Helper()
	x.process = testenv.NewProgram(x.T, filepath.Join(x.dir, "plane.log"), filepath.Join(x.bin, "replicore"), x.flags...)
	x.Await("a leader", func() error {
		_, err := x.Plane.Leader(x.T.Context())
		return err
	})
}

// Kill kills the control plane.
func (x *Example) Kill() { x.process.Kill() }

// Await repeats try until it succeeds.
func (x *Example) Await(what string, try func() error) {
	x.T.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			x.T.Fatalf("waited %s for %s: %v", patience, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Start applies the playbook in a file of the example and starts it.
func (x *Example) Start(file, playbook string, params record.Document) {
	x.T.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		x.T.Fatal(err)
	}
	if _, err := x.Plane.Apply(x.T.Context(), []client.File{{Name: file, Data: data}}); err != nil {
		x.T.Fatal(err)
	}
	run, err := x.Plane.Start(x.T.Context(), record.RunRequest{Playbook: playbook, Cluster: x.cluster, Params: params})
	if err != nil {
		x.T.Fatal(err)
	}
	x.run = run.ID
}

// KillInAction kills the control plane while an action of a step is in flight, and starts it again.
func (x *Example) KillInAction(step string) {
	x.T.Helper()
	x.Await("an action of step "+step+" to be in flight", func() error {
		for _, n := range x.Nodes() {
			for _, a := range n.Actions {
				if a.Step == step && a.State == record.ActionRunning {
					return nil
				}
			}
		}
		return errors.New("none is")
	})
	x.Kill()
	x.StartPlane()
}

// Nodes are the run's records of its nodes.
func (x *Example) Nodes() []record.RunNode {
	x.T.Helper()
	nodes, err := x.Plane.RunNodes(x.T.Context(), x.run, nil, 0)
	if err != nil {
		x.T.Fatal(err)
	}
	return nodes
}

// Done waits for the end of the run, which has to be DONE with all of its actions, in the term or a later one.
func (x *Example) Done(term int64) record.Run {
	x.T.Helper()
	run := x.Ended(record.RunDone, term)
	for _, n := range x.Nodes() {
		for _, a := range n.Actions {
			if a.State != record.ActionDone {
				x.T.Errorf("step %s of %s ended %s in attempt %d: %+v", a.Step, n.Node, a.State, a.Attempt, a.Error)
			}
		}
	}
	return run
}

// Ended waits for the end of the run, which has to be in a state, in the term or a later one: 2 once the leader was killed.
func (x *Example) Ended(state record.RunState, term int64) record.Run {
	x.T.Helper()
	var run record.Run
	x.Await("the end of the run", func() (err error) {
		if run, err = x.Plane.Run(x.T.Context(), x.run); err == nil && !run.State.Final() {
			err = fmt.Errorf("it is %s: %+v", run.State, run.Waiting)
		}
		return err
	})
	if run.State != state {
		x.T.Errorf("the run ended %s with nodes %v: %+v", run.State, run.Counts, run.Error)
	}
	if run.Term < term {
		x.T.Errorf("the run ended in term %d, not %d or later", run.Term, term)
	}
	x.checkHistories()
	return run
}

// checkHistories checks that the commands of the run were begun once for each action, by what they wrote themselves: lines of time, event
// and action. An event in which a script started the server is a part of the action.
func (x *Example) checkHistories() {
	x.T.Helper()
	for _, n := range x.Nodes() {
		begun := x.History(n.Node)
		for _, a := range n.Actions {
			if got := begun[a.ID]; got != 1 {
				x.T.Errorf("the command of step %s of %s, action %s, began %d times", a.Step, n.Node, a.ID, got)
			}
		}
	}
}

// History counts how often the commands of a node began, by action.
func (x *Example) History(node string) map[string]int {
	x.T.Helper()
	data, err := os.ReadFile(filepath.Join(x.Dir, node, "history"))
	if err != nil {
		x.T.Fatal(err)
	}
	begun := map[string]int{}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[1] != "start" {
			begun[fields[2]]++
		}
	}
	return begun
}
