//go:build integration

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/etcd/embedded"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
)

const (
	upgradeNodes = 4
	upgradeSteps = 25
	// upgradePatience is how long an operator's client tries again while replicas are restarted.
	upgradePatience = 20 * time.Second
)

// TestThreeReplicasAreUpgradedDuringARun replaces the program of one replica after the other, the leader's last, while operators
// read the run and write. The last stage of the run does not end before the upgrade.
func TestThreeReplicasAreUpgradedDuringARun(t *testing.T) {
	store, database := testenv.Mongo(t), "upgrade-"+uuid.NewString()
	dir := t.TempDir()
	for _, version := range []string{"old", "new"} {
		build := exec.Command("go", "build", "-ldflags", "-X github.com/replicante-io/playbooks/internal/version.number="+version,
			"-o", filepath.Join(dir, version)+"/", ".", "../repliagent")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
	}
	etcd, err := embedded.Start(t.Context(), filepath.Join(dir, "etcd"), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	starts, upgraded := filepath.Join(dir, "starts"), filepath.Join(dir, "upgraded")
	for i := range upgradeNodes {
		id := fmt.Sprintf("n%d", i)
		program(t, dir, "old/repliagent", fmt.Sprintf(`
node: {id: %s, cluster: c}
api: {listen: %s}
etcd: {endpoints: [%s], lease_ttl: 5s}
data_dir: %s
actions:
  append: {command: [/bin/sh, -c, 'echo "$REPLICANTE_ACTION_ID" >> %[5]s && sleep 0.1'], timeout: 30s}
  hold: {command: [/bin/sh, -c, 'echo "$REPLICANTE_ACTION_ID" >> %[5]s && until [ -e %[6]s ]; do sleep 0.1; done'], timeout: 3m}
probe: {command: [/bin/echo, '{"status": "HEALTHY", "role": "SECONDARY"}'], interval: 1s}
`, id, freeAddress(t), etcd.Endpoint, filepath.Join(dir, id), starts, upgraded), id)
	}

	replicas := make([]*upgradedReplica, 3)
	var servers []string
	for i := range replicas {
		r := &upgradedReplica{name: fmt.Sprintf("core-%d", i+1), listen: fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))}
		r.config = fmt.Sprintf(`
name: %s
api: {listen: %s}
etcd: {endpoints: [%s], lease_ttl: 5s}
store: {url: "%s", database: %s}
`, r.name, r.listen, etcd.Endpoint, store, database)
		r.start(t, dir, "old")
		replicas[i], servers = r, append(servers, "http://"+r.listen)
	}
	for _, r := range replicas {
		r.await(t, "old")
	}
	api, err := client.New(client.Config{Servers: servers, Patience: upgradePatience})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the control plane knows the nodes", func() bool {
		nodes, err := api.Nodes(t.Context(), "c")
		return err == nil && len(nodes) == upgradeNodes
	})
	playbook := []client.File{{Name: "append.yaml", Data: []byte(appendPlaybook(2, upgradeSteps) + `
    - name: hold
      batch: 2
      steps: [{name: hold, action: external.agent.replicante.io/hold}]
`)}}
	if _, err := api.Apply(t.Context(), playbook); err != nil {
		t.Fatal(err)
	}
	run, err := api.Start(t.Context(), record.RunRequest{Playbook: "append", Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}

	// Operators, each with a client of its own.
	operating, stopOperators := context.WithCancel(t.Context())
	var operators sync.WaitGroup
	operator := func(what string, call func(*client.Client) error) {
		own, err := client.New(client.Config{Servers: servers, Patience: upgradePatience})
		if err != nil {
			t.Fatal(err)
		}
		operators.Go(func() {
			var longest time.Duration
			calls := 0
			for ; operating.Err() == nil; calls++ {
				begin := time.Now()
				if err := call(own); err != nil && operating.Err() == nil {
					t.Errorf("%s, after %v: %v", what, time.Since(begin), err)
				}
				longest = max(longest, time.Since(begin))
			}
			t.Logf("%s: %d calls, the longest took %v", what, calls, longest)
		})
	}
	defer func() {
		stopOperators()
		operators.Wait()
	}()
	id := run.ID
	operator("reading the run", func(c *client.Client) error { _, err := c.Run(operating, id); return err })
	operator("applying a playbook", func(c *client.Client) error { _, err := c.Apply(operating, playbook); return err })

	leader, err := api.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last := slices.IndexFunc(replicas, func(r *upgradedReplica) bool { return r.name == leader.Name })
	replicas = append(slices.Delete(slices.Clone(replicas), last, last+1), replicas[last])
	begin := time.Now()
	for _, r := range replicas {
		r.stop(t)
		seen := len(lines(t, starts))
		r.start(t, dir, "new")
		r.await(t, "new")
		await(t, "another action starts", func() bool { return len(lines(t, starts)) > seen })
	}
	t.Logf("three replicas were upgraded in %v", time.Since(begin))
	if run, err = api.Run(t.Context(), run.ID); err != nil || run.State != record.RunRunning {
		t.Errorf("after the upgrade the run is %s, %v", run.State, err)
	}
	if now, err := api.Leader(t.Context()); err != nil || now.Name == leader.Name || now.Term != leader.Term+1 {
		t.Errorf("%s led in term %d; now %s leads in term %d, %v", leader.Name, leader.Term, now.Name, now.Term, err)
	}
	if err := os.WriteFile(upgraded, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the run ends", func() bool {
		run, err = api.Run(t.Context(), run.ID)
		return err == nil && run.State.Final()
	})
	if run.State != record.RunDone {
		t.Errorf("the run is %s: %+v", run.State, run.Error)
	}

	nodes, err := api.RunNodes(t.Context(), run.ID, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var saved []string
	for _, node := range nodes {
		for _, action := range node.Actions {
			saved = append(saved, action.ID)
		}
	}
	started := lines(t, starts)
	slices.Sort(saved)
	slices.Sort(started)
	if !slices.Equal(saved, started) || len(slices.Compact(slices.Clone(started))) != upgradeNodes*(upgradeSteps+1) {
		t.Errorf("started:\n%s\nsaved:\n%s", strings.Join(started, "\n"), strings.Join(saved, "\n"))
	}
}

// upgradedReplica is one replica, whose program is replaced.
type upgradedReplica struct {
	name, listen, config string
	process              *exec.Cmd
}

func (r *upgradedReplica) start(t *testing.T, dir, version string) {
	t.Helper()
	r.process = program(t, dir, version+"/replicore", r.config, r.name, "server")
}

// stop stops the replica as systemd does.
func (r *upgradedReplica) stop(t *testing.T) {
	t.Helper()
	begin := time.Now()
	_ = r.process.Process.Signal(syscall.SIGTERM)
	timeout := time.AfterFunc(stopTimeout, func() { _ = r.process.Process.Kill() })
	if err := r.process.Wait(); !timeout.Stop() || err != nil {
		t.Errorf("%s stopped after %v: %v", r.name, time.Since(begin), err)
	}
}

// await waits until the replica is ready and reports this version.
func (r *upgradedReplica) await(t *testing.T, version string) {
	t.Helper()
	await(t, fmt.Sprintf("%s is ready and %s", r.name, version), func() bool {
		answer, err := http.Get("http://" + r.listen + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = answer.Body.Close() }()
		var health struct {
			Ready   bool
			Version string
		}
		return json.NewDecoder(answer.Body).Decode(&health) == nil && health.Ready && health.Version == version
	})
}
