package replica_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/storetest"
)

// scrape reads a replica's metrics, by name with labels.
func scrape(t *testing.T, r *running) map[string]float64 {
	t.Helper()
	_, body := get(t, r.url+"/metrics")
	metrics := map[string]float64{}
	for line := range strings.Lines(body) {
		name, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || strings.HasPrefix(line, "#") || !strings.HasPrefix(line, "replicante_") {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		metrics[name] = number
	}
	return metrics
}

func metricsCount(t *testing.T, i *installation) {
	i.agent("a")
	i.agent("b")
	memory := storetest.NewMemory()
	var failing sync.Map
	s := shared{&store.Interceptor{Store: memory, Call: func(_ context.Context, method string, do func() error) error {
		if _, fails := failing.LoadAndDelete(method); fails {
			return fmt.Errorf("%s: %w", method, store.ErrUnavailable)
		}
		return do()
	}}}
	leader := i.start(i.config("core-1", ""), s)
	leader.ready()
	follower := i.start(i.config("core-2", ""), s)
	follower.ready()
	apply(t, follower.plane)
	failing.Store("Commit", true)
	if run := ping(t, follower.plane, 2); run.State != record.RunDone {
		t.Fatalf("the run ended %s", run.State)
	}
	eventually(t, "the nodes are counted as healthy", func() bool {
		return scrape(t, leader)[`replicante_nodes{cluster="c",status="HEALTHY"}`] == 2
	})
	got := scrape(t, leader)
	for name, want := range map[string]float64{
		"replicante_leading": 1, "replicante_term": 1, "replicante_takeovers_total": 1, "replicante_takeover_seconds_count": 1,
		`replicante_takeover_phase_seconds_count{phase="term"}`: 1, `replicante_takeover_phase_seconds_count{phase="runs"}`: 1,
		`replicante_runs_ended_total{state="DONE"}`: 1, `replicante_runs{state="RUNNING"}`: 0,
		`replicante_dispatches_total{result="accepted"}`: 2, `replicante_dispatches_total{result="unknown"}`: 0,
		`replicante_commits_total{result="unavailable"}`: 1, `replicante_store_errors_total{call="Commit",kind="unavailable"}`: 1,
		`replicante_nodes_present{cluster="c"}`: 2, `replicante_nodes{cluster="c",status="UNREACHABLE"}`: 0, "replicante_store_unavailable": 0,
		"replicante_mailbox_inputs": 0, "replicante_dispatcher_queue": 0, `replicante_effects_in_flight{kind="action"}`: 0,
		`replicante_effects_in_flight{kind="facts"}`: 0, `replicante_nodes_out_of_service{cluster="c"}`: 0,
	} {
		if value, there := got[name]; !there || value != want {
			t.Errorf("%s is %v (there: %v), not %v", name, value, there, want)
		}
	}
	if commits := got[`replicante_commits_total{result="ok"}`]; commits < 2 || commits != got["replicante_commit_seconds_count"] {
		t.Errorf("%v commits, %v of them measured", commits, got["replicante_commit_seconds_count"])
	}

	got = scrape(t, follower)
	if got["replicante_leading"] != 0 || got["replicante_takeovers_total"] != 0 {
		t.Errorf("a follower leads: %v", got)
	}
	for name := range got {
		for _, ofLeader := range []string{"replicante_nodes", "replicante_runs{", "replicante_mailbox", "replicante_dispatcher", "replicante_effects"} {
			if strings.HasPrefix(name, ofLeader) {
				t.Errorf("a follower counts %s", name)
			}
		}
	}
}
