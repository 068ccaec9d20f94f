//go:build integration

// Package configchange_test follows the example as a user would, while clients write and the control plane is killed.
package configchange_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/example"
)

func TestAChangeIsRolledBackWhereItWasAppliedAndLosesNoWrite(t *testing.T) {
	testenv.Redis(t)
	ports := example.Ports(t, 4)
	x := installation{example.NewOn(t, "../redis", "redis", 4, "REDIS_PORTS="+ports), strings.Fields(ports)}
	before := x.configurations()
	writer := example.StartWriter(t, func(ctx context.Context, value int) error {
		answer, err := x.cli(ctx, 0, "SET", key(value), strconv.Itoa(value))
		if err == nil && answer != "OK" {
			err = fmt.Errorf("the answer is %q", answer)
		}
		return err
	})

	// The canary replicates no more.
	x.change("masterauth", "not-the-password")
	x.KillInAction("apply")
	x.Ended(record.RunFailed, 2)
	x.states(map[record.NodeState]int{record.NodeRolledBack: 1, record.NodeNotReached: 3})
	if order := x.inOrder("restore"); len(order) != 1 || order[0] == "redis-1" {
		t.Errorf("the configuration was restored on %v, not on one replica", order)
	}
	x.unchanged(before)

	// Only the primary has a problem with it, so all servers have it by then.
	x.change("min-replicas-to-write", "10")
	x.KillInAction("restore")
	x.Ended(record.RunFailed, 3)
	x.states(map[record.NodeState]int{record.NodeRolledBack: 4})
	canary, restored := x.inOrder("apply")[0], x.inOrder("restore")
	if len(restored) != 4 || restored[0] != "redis-1" || restored[3] != canary {
		t.Errorf("the servers were restored in the order %v: not the primary first and the canary, %s, last", restored, canary)
	}
	x.unchanged(before)

	x.change("maxclients", "500")
	x.Done(3)
	for i := range x.ports {
		if got, err := x.cli(t.Context(), i, "CONFIG", "GET", "maxclients"); err != nil || got != "maxclients\n500" {
			t.Errorf("redis-%d: %q, %v", i+1, got, err)
		}
	}
	x.check(writer.Stop(t))
}

type installation struct {
	*example.Example
	ports []string
}

func (x installation) change(name, value string) {
	x.T.Helper()
	x.Start("config-change.yaml", "redis-config-change", record.Document{"name": name, "value": value})
}

func (x installation) configurations() []string {
	x.T.Helper()
	var all []string
	for i := range x.ports {
		data, err := os.ReadFile(filepath.Join(x.Dir, fmt.Sprintf("redis-%d", i+1), "redis.conf"))
		if err != nil {
			x.T.Fatal(err)
		}
		all = append(all, string(data))
	}
	return all
}

func (x installation) unchanged(before []string) {
	x.T.Helper()
	if now := x.configurations(); !slices.Equal(now, before) {
		x.T.Errorf("the configurations were %q and are %q", before, now)
	}
}

// states checks in which states the run has left the servers.
func (x installation) states(want map[record.NodeState]int) {
	x.T.Helper()
	got := map[record.NodeState]int{}
	for _, n := range x.Nodes() {
		got[n.State]++
	}
	if !maps.Equal(got, want) {
		x.T.Errorf("the servers ended %v, not %v", got, want)
	}
}

// inOrder are the servers in the order in which actions of a step started on them.
func (x installation) inOrder(step string) []string {
	x.T.Helper()
	var servers []string
	at := map[string]time.Time{}
	for _, n := range x.Nodes() {
		for _, a := range n.Actions {
			if a.Step == step {
				at[n.Node] = a.StartTS
				servers = append(servers, n.Node)
			}
		}
	}
	slices.SortFunc(servers, func(a, b string) int { return at[a].Compare(at[b]) })
	return slices.Compact(servers)
}

// check checks that each server has all acknowledged values.
func (x installation) check(acknowledged []int) {
	x.T.Helper()
	keys := make([]string, len(acknowledged))
	for i, value := range acknowledged {
		keys[i] = key(value)
	}
	for i := range x.ports {
		x.Await(fmt.Sprintf("redis-%d to have all acknowledged values", i+1), func() error {
			count, err := x.cli(x.T.Context(), i, append([]string{"EXISTS"}, keys...)...)
			if err == nil && count != strconv.Itoa(len(keys)) {
				err = fmt.Errorf("it has %s of %d", count, len(keys))
			}
			return err
		})
	}
}

func key(value int) string { return fmt.Sprintf("key:%d", value) }

// cli sends a command to a server.
func (x installation) cli(ctx context.Context, server int, command ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "redis-cli", append([]string{"-p", x.ports[server]}, command...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
