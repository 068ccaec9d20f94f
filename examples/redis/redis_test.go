//go:build integration

// Package redis_test follows the example as a user would, while its control plane is killed repeatedly.
package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

const (
	servers  = 4
	keys     = 1000
	patience = 60 * time.Second
)

func TestARollingRestartSurvivesKillsOfItsControlPlane(t *testing.T) {
	x := newExample(t)
	x.startPlane()
	x.script("setup.sh")
	x.script("start.sh")
	t.Cleanup(func() { x.script("stop.sh") })
	x.write()
	before := make([]string, servers)
	for i := range before {
		before[i] = x.info(i)["run_id"]
	}
	x.await("the agents to be known", func() error {
		nodes, err := x.plane.Nodes(t.Context(), "redis")
		if err == nil && len(nodes) != servers {
			err = fmt.Errorf("there are %d nodes", len(nodes))
		}
		return err
	})
	playbook, err := os.ReadFile("rolling-restart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.plane.Apply(t.Context(), []client.File{{Name: "rolling-restart.yaml", Data: playbook}}); err != nil {
		t.Fatal(err)
	}

	// It is killed while the first replica is restarting, and does not run when that ends.
	x.hold()
	run, err := x.plane.Start(t.Context(), record.RunRequest{Playbook: "redis-rolling-restart", Cluster: "redis"})
	if err != nil {
		t.Fatal(err)
	}
	x.run = run.ID
	x.awaitHeld()
	first := x.inFlight()
	x.kill()
	x.release()
	x.await("the first replica to be back", func() error {
		if x.info(1)["run_id"] == before[1] || x.info(1)["master_link_status"] != "up" {
			return errors.New("it is not back")
		}
		return nil
	})
	x.startPlane()

	// It is killed in the health gate of the last replica, when no action is in flight.
	x.await("the health gate of the last replica", func() error {
		for _, n := range x.nodes() {
			for _, s := range n.Stages {
				if n.Node == "redis-4" && s.Name == "replicas" && s.State == record.NodeStageChecking {
					return nil
				}
			}
		}
		return errors.New("it is not there yet")
	})
	x.kill()
	x.hold()
	x.startPlane()

	// It is killed while the old primary is restarting, which is still in flight when the next one leads.
	x.awaitHeld()
	last := x.inFlight()
	x.kill()
	x.startPlane()
	if again := x.inFlight(); again != last {
		t.Errorf("action %s was in flight, and now %s is", last, again)
	}
	x.release()

	x.await("the end of the run", func() error {
		run, err = x.plane.Run(t.Context(), x.run)
		if err == nil && !run.State.Final() {
			err = fmt.Errorf("it is %s: %+v", run.State, run.Waiting)
		}
		return err
	})
	if run.State != record.RunDone || run.Counts[record.NodeDone] != servers {
		t.Errorf("the run ended %s with nodes %v: %+v", run.State, run.Counts, run.Error)
	}
	if run.Term < 4 {
		t.Errorf("the run ended in term %d although three leaders were killed", run.Term)
	}
	for i := range servers {
		x.checkRestart(i, before[i])
	}
	x.checkActions(first, last)
	x.checkReplication()
	x.checkData()
}

// example is the example with its control plane.
type example struct {
	t       *testing.T
	dir     string   // of everything
	env     []string // of the scripts
	redis   []int    // ports
	agents  []int
	flags   []string // of the control plane
	process *cluster.Process
	plane   *client.Client
	run     string // id
}

func newExample(t *testing.T) *example {
	server := testenv.Redis(t)
	x := &example{t: t, dir: t.TempDir()}
	bin := filepath.Join(x.dir, "bin")
	build := exec.Command("go", "build", "-o", bin+"/", "../../cmd/replicore", "../../cmd/repliagent")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	// A server that does not start while there is a file "hold".
	slow := fmt.Sprintf("#!/bin/sh\nif [ -e %[1]s/hold ]; then\n  : >%[1]s/held\n"+
		"  while [ -e %[1]s/hold ]; do sleep 0.05; done\nfi\nexec %[2]s \"$@\"\n", x.dir, server)
	path := filepath.Join(x.dir, "path")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "redis-server"), []byte(slow), 0o700); err != nil {
		t.Fatal(err)
	}
	for range servers {
		x.redis = append(x.redis, testenv.FreePort(t))
		x.agents = append(x.agents, testenv.FreePort(t))
	}
	etcd, api := testenv.FreePort(t), testenv.FreePort(t)
	x.env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"), "BIN="+bin, "DIR="+filepath.Join(x.dir, "redis"),
		fmt.Sprintf("ETCD=http://127.0.0.1:%d", etcd), "REDIS_PORTS="+joined(x.redis), "AGENT_PORTS="+joined(x.agents))
	x.flags = []string{"dev", "--agents", "0", "--data", filepath.Join(x.dir, "plane"), "--log-level", "info",
		"--listen", fmt.Sprintf("127.0.0.1:%d", api), "--etcd-listen", fmt.Sprintf("127.0.0.1:%d", etcd)}
	var err error
	x.plane, err = client.New(client.Config{Servers: []string{fmt.Sprintf("http://127.0.0.1:%d", api)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.logOutput)
	return x
}

// logOutput logs the output of all programs if the test has failed.
func (x *example) logOutput() {
	if !x.t.Failed() {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(x.dir, "redis/redis-*/*.log"))
	histories, _ := filepath.Glob(filepath.Join(x.dir, "redis/redis-*/history"))
	for _, name := range slices.Concat([]string{x.planeLog()}, logs, histories) {
		data, _ := os.ReadFile(name)
		x.t.Logf("%s:\n%s", name, data[max(0, len(data)-10_000):])
	}
}

func (x *example) planeLog() string { return filepath.Join(x.dir, "plane.log") }

// script runs one of the example's scripts. What it starts keeps running.
func (x *example) script(name string) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := os.CreateTemp(x.dir, name)
	if err != nil {
		x.t.Fatal(err)
	}
	defer out.Close()
	command := exec.CommandContext(ctx, "./"+name)
	command.Env, command.Stdout, command.Stderr = x.env, out, out
	if err := command.Run(); err != nil {
		output, _ := os.ReadFile(out.Name())
		x.t.Fatalf("%s: %v\n%s", name, err, output)
	}
}

// startPlane starts the control plane and waits until it leads.
func (x *example) startPlane() {
	x.t.Helper()
	x.process = testenv.NewProgram(x.t, x.planeLog(), filepath.Join(x.dir, "bin/replicore"), x.flags...)
	x.await("a leader", func() error {
		_, err := x.plane.Leader(x.t.Context())
		return err
	})
}

func (x *example) kill() { x.process.Kill() }

func (x *example) hold() {
	x.t.Helper()
	_ = os.Remove(filepath.Join(x.dir, "held"))
	if err := os.WriteFile(filepath.Join(x.dir, "hold"), nil, 0o600); err != nil {
		x.t.Fatal(err)
	}
}

// awaitHeld waits until a server is between its end and its next start.
func (x *example) awaitHeld() {
	x.t.Helper()
	x.await("a server to be restarting", func() error {
		_, err := os.Stat(filepath.Join(x.dir, "held"))
		return err
	})
}

func (x *example) release() {
	x.t.Helper()
	if err := os.Remove(filepath.Join(x.dir, "hold")); err != nil {
		x.t.Fatal(err)
	}
}

// await repeats try until it succeeds.
func (x *example) await(what string, try func() error) {
	x.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("waited %s for %s: %v", patience, what, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-x.process.Done():
			if what == "a leader" {
				x.t.Fatal("the control plane ended")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// nodes is the run's records of its nodes.
func (x *example) nodes() []record.RunNode {
	x.t.Helper()
	nodes, err := x.plane.RunNodes(x.t.Context(), x.run, nil, 0)
	if err != nil {
		x.t.Fatal(err)
	}
	return nodes
}

// inFlight is the id of the one action that is in flight.
func (x *example) inFlight() string {
	x.t.Helper()
	var ids []string
	for _, n := range x.nodes() {
		for _, a := range n.Actions {
			if a.State.InFlight() {
				ids = append(ids, a.ID)
			}
		}
	}
	if len(ids) != 1 {
		x.t.Fatalf("actions %v are in flight, not one", ids)
	}
	return ids[0]
}

// cli sends commands to a server with redis-cli.
func (x *example) cli(server int, input string, args ...string) (string, error) {
	command := exec.Command("redis-cli", append([]string{"-p", strconv.Itoa(x.redis[server])}, args...)...)
	command.Stdin = strings.NewReader(input)
	out, err := command.Output()
	return string(out), err
}

// info is the output of INFO of a server; empty if it does not answer.
func (x *example) info(server int) map[string]string {
	out, _ := x.cli(server, "", "INFO")
	info := map[string]string{}
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

func (x *example) write() {
	x.t.Helper()
	var commands strings.Builder
	for i := range keys {
		fmt.Fprintf(&commands, "SET key:%d value-%d\n", i, i)
	}
	if out, err := x.cli(0, commands.String()); err != nil || strings.Count(out, "OK\n") != keys {
		x.t.Fatalf("write %d keys: %v\n%s", keys, err, out)
	}
}

// checkRestart checks that a server was restarted exactly once.
func (x *example) checkRestart(server int, runBefore string) {
	x.t.Helper()
	name := fmt.Sprintf("redis-%d", server+1)
	if now := x.info(server)["run_id"]; now == "" || now == runBefore {
		x.t.Errorf("%s was not restarted: its run_id was %s and is %q", name, runBefore, now)
	}
	if starts := strings.Count(x.read(name, "history"), " start "); starts != 2 {
		x.t.Errorf("%s was started %d times, not twice", name, starts)
	}
	if starts := strings.Count(x.read(name, "redis.log"), "Redis is starting"); starts != 2 {
		x.t.Errorf("the log of %s has %d starts, not two", name, starts)
	}
}

func (x *example) read(server, file string) string {
	x.t.Helper()
	data, err := os.ReadFile(filepath.Join(x.dir, "redis", server, file))
	if err != nil {
		x.t.Fatal(err)
	}
	return string(data)
}

// checkActions compares what was done according to the run, the agents and the commands.
func (x *example) checkActions(survivors ...string) {
	x.t.Helper()
	var recorded, executed, begun []string
	for _, n := range x.nodes() {
		for _, a := range n.Actions {
			recorded = append(recorded, a.ID)
			if a.State != record.ActionDone || a.Attempt != 1 {
				x.t.Errorf("step %s of %s ended %s in attempt %d: %+v", a.Step, n.Node, a.State, a.Attempt, a.Error)
			}
		}
	}
	for i, port := range x.agents {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s/actions/finished", port, wire.Base))
		if err != nil {
			x.t.Fatal(err)
		}
		var list wire.ActionList
		err = json.NewDecoder(answer.Body).Decode(&list)
		answer.Body.Close()
		if err != nil {
			x.t.Fatal(err)
		}
		for _, a := range list.Actions {
			executed = append(executed, a.ID)
		}
		for line := range strings.Lines(x.read(fmt.Sprintf("redis-%d", i+1), "history")) {
			if fields := strings.Fields(line); fields[1] != "start" {
				begun = append(begun, fields[2])
			}
		}
	}
	slices.Sort(recorded)
	slices.Sort(executed)
	slices.Sort(begun)
	if len(recorded) != servers+1 || len(slices.Compact(slices.Clone(recorded))) != servers+1 {
		x.t.Errorf("the run has actions %v: not four restarts and a failover", recorded)
	}
	if !slices.Equal(recorded, executed) || !slices.Equal(recorded, begun) {
		x.t.Errorf("the run has actions %v, the agents executed %v, the commands were %v", recorded, executed, begun)
	}
	for _, id := range survivors {
		if !slices.Contains(recorded, id) {
			x.t.Errorf("action %s, which was in flight when a leader died, is not among %v", id, recorded)
		}
	}
}

// checkReplication checks that there is one primary, not the one before, and that the others replicate from it.
func (x *example) checkReplication() {
	x.t.Helper()
	var primaries []int
	following := map[string]int{}
	for i := range servers {
		switch info := x.info(i); {
		case info["role"] == "master":
			primaries = append(primaries, i)
		case info["role"] != "slave" || info["master_link_status"] != "up" || info["master_sync_in_progress"] != "0":
			x.t.Errorf("redis-%d does not replicate from its primary: %v", i+1, info)
		default:
			following[info["master_port"]]++
		}
	}
	if len(primaries) != 1 || primaries[0] == 0 || following[strconv.Itoa(x.redis[primaries[0]])] != servers-1 {
		x.t.Errorf("the primaries are %v (counted from 0), the others follow %v", primaries, following)
	}
}

// checkData checks that every server has all data that was written before.
func (x *example) checkData() {
	x.t.Helper()
	mget, want := []string{"MGET"}, &strings.Builder{}
	for i := range keys {
		mget = append(mget, fmt.Sprintf("key:%d", i))
		fmt.Fprintf(want, "value-%d\n", i)
	}
	for i := range servers {
		if got, err := x.cli(i, "", mget...); err != nil || got != want.String() {
			x.t.Errorf("redis-%d has lost data: %v\n%s", i+1, err, got)
		}
	}
}

func joined(numbers []int) string {
	text := make([]string, len(numbers))
	for i, n := range numbers {
		text[i] = strconv.Itoa(n)
	}
	return strings.Join(text, " ")
}
