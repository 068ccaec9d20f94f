package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/dev"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
)

// plane is a control plane in this process, which agents in processes of their own register with.
type plane struct {
	t      *testing.T
	listen string
	etcd   string
	data   string
	api    *client.Client

	stop  context.CancelFunc
	ended chan error
}

func startPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, data: t.TempDir(), listen: fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t)), etcd: fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t))}
	var err error
	if p.api, err = client.New(client.Config{Servers: []string{"http://" + p.listen}, Patience: 20 * time.Second}); err != nil {
		t.Fatal(err)
	}
	p.start()
	t.Cleanup(p.end)
	return p
}

func (p *plane) start() {
	p.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p.stop, p.ended = stop, make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		p.ended <- dev.Run(ctx, dev.Config{
			Data: p.data, Listen: p.listen, Etcd: p.etcd, Log: hclog.NewNullLogger(), Ready: func(string) { close(ready) },
		})
	}()
	select {
	case <-ready:
	case err := <-p.ended:
		p.t.Fatalf("the control plane ended: %v", err)
	}
}

func (p *plane) end() {
	p.stop()
	if err := <-p.ended; err != nil {
		p.t.Error(err)
	}
}

// nodes are the agents of one cluster, by number from 1: the node of number 1 is n1.
type nodes struct {
	*plane
	t       *testing.T
	cluster string
	dir     string
	agents  []*exec.Cmd // by number; nil where none runs
	started string      // the file in which the action act writes the names of nodes
}

// startNodes starts agents, whose configuration has what yaml says for each number, and waits until they are known.
func (p *plane) startNodes(t *testing.T, cluster string, n int, lease time.Duration, yaml func(i int) string) *nodes {
	t.Helper()
	c := &nodes{plane: p, t: t, cluster: cluster, dir: t.TempDir(), agents: make([]*exec.Cmd, n+1)}
	c.started = filepath.Join(c.dir, "started")
	for i := 1; i <= n; i++ {
		listen, data := fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t)), filepath.Join(c.dir, fmt.Sprint("data-", i))
		text := fmt.Sprintf("node: {id: n%d, cluster: %s}\napi: {listen: %q}\netcd: {endpoints: [%q], lease_ttl: %s}\ndata_dir: %q\n"+
			"actions:\n  act: {command: [sh, -c, 'echo $REPLICANTE_NODE_ID >>%s; sleep ${REPLICANTE_ARG_SECONDS:-0}']}\n%s\n",
			i, cluster, listen, "http://"+p.etcd, lease, data, c.started, yaml(i))
		if err := os.WriteFile(c.file(i), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.launch(i)
	}
	t.Cleanup(func() {
		for i := range c.agents {
			c.kill(i)
		}
	})
	eventually(t, "all nodes are known", func() bool {
		known, err := p.api.Nodes(t.Context(), cluster)
		return err == nil && len(known) == n && !slices.ContainsFunc(known, func(n record.Node) bool { return !n.Present })
	})
	return c
}

func (c *nodes) file(i int) string { return filepath.Join(c.dir, fmt.Sprintf("n%d.yaml", i)) }

func (c *nodes) launch(i int) {
	c.t.Helper()
	command := exec.Command(os.Args[0], "--config", c.file(i))
	command.Env = append(os.Environ(), asProgram+"=1")
	if err := command.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.agents[i] = command
}

// kill kills an agent, if it runs.
func (c *nodes) kill(i int) {
	if command := c.agents[i]; command != nil {
		_ = command.Process.Kill()
		_ = command.Wait()
		c.agents[i] = nil
	}
}

// run applies a playbook with this spec and starts a run of it.
func (c *nodes) run(spec string) record.Run {
	c.t.Helper()
	text := fmt.Sprintf("apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: %s}\nspec:\n%s", c.cluster, spec)
	if _, err := c.api.Apply(c.t.Context(), []client.File{{Name: "playbook.yaml", Data: []byte(text)}}); err != nil {
		c.t.Fatal(err)
	}
	run, err := c.api.Start(c.t.Context(), record.RunRequest{Playbook: c.cluster, Cluster: c.cluster})
	if err != nil {
		c.t.Fatal(err)
	}
	return run
}

func (c *nodes) read(id string) record.Run {
	c.t.Helper()
	run, err := c.api.Run(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	return run
}

// wait waits until the run has a state, and checks the states of its nodes: n1=DONE n2=FAILED.
func (c *nodes) wait(id string, state record.RunState, want string) {
	c.t.Helper()
	var run record.Run
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if run = c.read(id); run.State == state {
			break
		}
		if run.State.Final() || time.Now().After(deadline) {
			c.t.Errorf("the run is %s instead of %s: %+v, %+v", run.State, state, run.Error, run.Waiting)
			break
		}
	}
	records, err := c.api.RunNodes(c.t.Context(), id, nil, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	var got []string
	for _, n := range records {
		got = append(got, fmt.Sprintf("%s=%s", n.Node, n.State))
		if n.Error != nil {
			c.t.Logf("%s: %s: %s", n.Node, n.Error.Code, n.Error.Message)
		}
	}
	if strings.Join(got, " ") != want {
		c.t.Errorf("its nodes are %v instead of %s", got, want)
	}
}

// order is in which order the action act was started on nodes.
func (c *nodes) order() string {
	text, err := os.ReadFile(c.started)
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// lease is how long the key of a node outlives its agent.
const lease = 3 * time.Second

const act = "steps: [{name: act, action: external.agent.replicante.io/act}]"

// probe is a probe that runs a shell command.
func probe(command string) string {
	return fmt.Sprintf("probe: {command: [sh, -c, %q], interval: 5s, timeout: 20s}", command)
}

// healthy is what a probe prints for a node with this role.
func healthy(role string) string {
	return fmt.Sprintf(`{"status": "HEALTHY", "shards": [{"id": "d", "role": "%s"}]}`, role)
}

func TestNodesAreTreatedAsTheirAgentsSay(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	cases := []struct {
		name string
		test func(t *testing.T, p *plane)
	}{
		{"AProbeThatTakesSixSecondsIsWaitedFor", slowProbe},
		{"AGateSeesTheShardsOfASlowProbe", slowShards},
		{"RolesAreComparedAsWritten", rolesAsWritten},
		{"ANodeWhoseAgentCrashedIsRemovedRatherThanFailed", crashedIsRemoved},
		{"ANodeThatCannotBeDecidedAboutIsOneFailure", undecidable},
		{"ANodeThatReturnsGoesThroughItsStage", returns},
	}
	t.Run("each", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.test(t, p)
			})
		}
	})
}

func slowProbe(t *testing.T, p *plane) {
	c := p.startNodes(t, "slow-probe", 1, lease, func(int) string { return probe(`sleep 6; echo '{"status": "HEALTHY"}'`) })
	c.wait(c.run("  stages: [{name: work, "+act+"}]\n").ID, record.RunDone, "n1=DONE")
	if node, err := p.api.Node(t.Context(), c.cluster, "n1"); err != nil || node.Status != record.StatusHealthy {
		t.Errorf("the node is %s (%s), %v", node.Status, node.StatusReason, err)
	}
}

// slowShards: three questions about a node are answered by one run of its probe, also where that takes long.
func slowShards(t *testing.T, p *plane) {
	c := p.startNodes(t, "slow-shards", 1, lease, func(int) string {
		return probe(`sleep 1.5; echo '{"status": "HEALTHY", "shards": [{"id": "d", "role": "SECONDARY", ` +
			`"lag": {"value": 999999999, "unit": "bytes"}}]}'`)
	})
	run := c.run("  stages:\n    - name: work\n      " + act + "\n" +
		"      health: {check: 'node.status == \"HEALTHY\" && node.shards.all(s, s.lag.value <= 1000)', timeout: 4s, interval: 1s}\n")
	c.wait(run.ID, record.RunFailed, "n1=FAILED")
	if records, err := p.api.RunNodes(t.Context(), run.ID, nil, 0); err != nil || records[0].Error == nil || records[0].Error.Code != record.CodeHealthTimeout {
		t.Errorf("it failed for another reason than its gate: %+v, %v", records, err)
	}
}

func rolesAsWritten(t *testing.T, p *plane) {
	roles := []string{1: "master", 2: "slave", 3: "slave"}
	c := p.startNodes(t, "roles", 3, lease, func(i int) string { return probe("echo '" + healthy(roles[i]) + "'") })
	c.wait(c.run("  stages:\n    - name: work\n      order_by: 'node.role == \"master\"'\n      "+act+"\n").ID, record.RunDone, "n1=DONE n2=DONE n3=DONE")
	if order := c.order(); order != "n2 n3 n1" {
		t.Errorf("the order is %s", order)
	}
	c.wait(c.run("  stages:\n    - name: work\n      targets: 'node.role != \"master\"'\n      "+act+"\n").ID, record.RunDone, "n1=SKIPPED n2=DONE n3=DONE")
}

func crashedIsRemoved(t *testing.T, p *plane) {
	c := p.startNodes(t, "crashed", 6, lease, func(int) string { return "" })
	c.kill(5)
	run := c.run("  membership: {removed: ignore, grace: 1s}\n  stages:\n    - name: work\n      batch: 2\n      " + act + "\n")
	c.wait(run.ID, record.RunDone, "n1=DONE n2=DONE n3=DONE n4=DONE n5=REMOVED n6=DONE")
}

func undecidable(t *testing.T, p *plane) {
	roles := []string{1: "PRIMARY", 2: "SECONDARY", 3: "SECONDARY"}
	down := filepath.Join(t.TempDir(), "down")
	c := p.startNodes(t, "undecidable", 3, time.Minute, func(i int) string {
		return probe(fmt.Sprintf("test -e %s-n%d && exit 1; echo '%s'", down, i, healthy(roles[i])))
	})
	const spec = "  membership: {grace: 1s}\n  stages:\n    - name: work\n      max_failures: 1\n      on_failure: continue\n      %s\n      " + act + "\n"
	if err := os.WriteFile(down+"-n3", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the datastore of n3 is known to be down", func() bool {
		node, err := p.api.Node(t.Context(), c.cluster, "n3")
		return err == nil && node.Status == record.StatusUnavailable
	})
	c.wait(c.run(fmt.Sprintf(spec, `order_by: 'node.role == "PRIMARY"'`)).ID, record.RunFailed, "n1=DONE n2=DONE n3=FAILED")
	c.kill(3) // its key stays
	c.wait(c.run(fmt.Sprintf(spec, `targets: 'node.role != "PRIMARY"'`)).ID, record.RunFailed, "n1=SKIPPED n2=DONE n3=FAILED")
}

// returns kills an agent before the stage of its node, and starts it again once the run has paused for that.
func returns(t *testing.T, p *plane) {
	c := p.startNodes(t, "returns", 3, lease, func(int) string { return "" })
	run := c.run(`  membership: {removed: pause, grace: 1s}
  stages:
    - name: one
      targets: 'node.id != "n3"'
      steps: [{name: act, action: external.agent.replicante.io/act, args: {seconds: 3}}]
    - name: two
      targets: 'node.id == "n3"'
      ` + act + "\n")
	eventually(t, "the first stage has started", func() bool { return c.order() != "" })
	c.kill(3)
	eventually(t, "the run has paused", func() bool { return c.read(run.ID).State == record.RunPaused })
	c.launch(3)
	eventually(t, "the node is back", func() bool {
		node, err := p.api.Node(t.Context(), c.cluster, "n3")
		return err == nil && node.Present && node.Status == record.StatusHealthy
	})
	if _, err := p.api.Command(t.Context(), run.ID, record.Command{Verb: record.VerbResume}); err != nil {
		t.Fatal(err)
	}
	c.wait(run.ID, record.RunDone, "n1=DONE n2=DONE n3=DONE")
	if order := c.order(); !strings.HasSuffix(order, "n3") {
		t.Errorf("the order is %s", order)
	}
}

// TestTimeWithoutAControlPlaneCountsAgainstNoNode ends the control plane for longer than every timeout.
func TestTimeWithoutAControlPlaneCountsAgainstNoNode(t *testing.T) {
	t.Parallel()
	p := startPlane(t)
	dir := t.TempDir()
	sick := filepath.Join(dir, "sick")
	gate := p.startNodes(t, "gate", 1, lease, func(int) string {
		return probe(fmt.Sprintf(`test -e %s && s=UNHEALTHY || s=HEALTHY; echo "{\"status\": \"$s\"}"`, sick))
	})
	// The command of an attempt that ends by its timeout outlives SIGTERM; the second attempt succeeds.
	hang := p.startNodes(t, "hang", 1, lease, func(int) string {
		return fmt.Sprintf("  hang: {command: [sh, -c, 'mkdir %s/first || exit 0; trap \"\" TERM; sleep 60 & wait; sleep 60']}", dir)
	})
	gated := gate.run("  stages:\n    - name: work\n      " + act + "\n      health: {check: 'node.status == \"HEALTHY\"', timeout: 8s, interval: 1s, settle: 2s}\n")
	eventually(t, "the action has started", func() bool { return gate.order() != "" })
	if err := os.WriteFile(sick, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	hanging := hang.run("  stages:\n    - name: work\n      steps: [{name: hang, action: external.agent.replicante.io/hang, timeout: 3s, retry: {attempts: 2}}]\n")
	eventually(t, "the gate waits", func() bool {
		run := gate.read(gated.ID)
		return run.Waiting != nil && run.Waiting.For == record.WaitGate
	})
	eventually(t, "the command hangs", func() bool { _, err := os.Stat(filepath.Join(dir, "first")); return err == nil })
	p.end()
	if err := os.Remove(sick); err != nil {
		t.Fatal(err)
	}
	time.Sleep(14 * time.Second)
	p.start()
	gate.wait(gated.ID, record.RunDone, "n1=DONE")
	hang.wait(hanging.ID, record.RunDone, "n1=DONE")
}
