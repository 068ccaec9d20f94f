package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/wire"
)

func probe(script string) func(context.Context) (agent.Info, error) {
	return agent.CommandProbe([]string{"/bin/sh", "-c", script}, 500*time.Millisecond, nil)
}

func TestNodeWithoutAProbeIsHealthy(t *testing.T) {
	s := serve(t, agent.Config{Attributes: map[string]any{"zone": "a"}, Version: wire.AgentVersion{Number: "1.2.3"}})
	info, err := s.NodeInfo(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	if string(info.NodeStatus) != `"HEALTHY"` || info.Attributes["zone"] != "a" || info.NodeID != "n1" || info.ClusterID != "c1" ||
		info.JournalID != s.agent.JournalID() || info.AgentVersion.Number != "1.2.3" {
		t.Errorf("%+v", info)
	}
	if shards, err := s.ShardsInfo(t.Context(), s.url); err != nil || len(shards.Shards) != 0 {
		t.Error(shards, err)
	}
}

func TestTheOutputOfAProbeIsServedInThePublishedForm(t *testing.T) {
	s := serve(t, agent.Config{Attributes: map[string]any{"zone": "a", "kept": true}, Probe: probe(`echo '{"store_id": "redis",
		"store_version": "7.0.1", "status": "JOINING", "attributes": {"zone": "b", "n": 1},
		"shards": [{"id": "s0", "role": "SECONDARY", "lag": {"value": 3, "unit": "seconds"}}, {"id": "s1", "role": "SECONDARY"}]}'`)})
	_, node := s.raw("/info/node")
	for _, want := range []string{`"node_status":"JOINING_CLUSTER"`, `"store_id":"redis"`, `"store_version":{"number":"7.0.1"}`,
		`"attributes":{"kept":true,"n":1,"zone":"b"}`, `"role":"SECONDARY"`} {
		if !strings.Contains(node, want) {
			t.Errorf("/info/node lacks %s: %s", want, node)
		}
	}
	_, shards := s.raw("/info/shards")
	want := `{"shards":[{"id":"s0","role":"Secondary","commit_offset":{"unit":{"unit":"unknown"},"value":0},"lag":{"unit":"seconds","value":3}},` +
		`{"id":"s1","role":"Secondary","commit_offset":{"unit":{"unit":"unknown"},"value":0},"lag":null}]}`
	if diff := cmp.Diff(want, shards); diff != "" {
		t.Error(diff)
	}
	if _, store := s.raw("/info/store"); !strings.Contains(store, `"cluster_id":"c1"`) {
		t.Error(store)
	}
}

func TestANodeWhoseProbeFailsIsUnavailableOrUnknown(t *testing.T) {
	cases := map[string]struct{ script, status, reason string }{
		"exit status":    {"echo no connection >&2; exit 1", wire.StatusUnavailable, ""},
		"no JSON":        {"echo fine", wire.StatusUnknown, "no JSON object, but: fine"},
		"not valid JSON": {`echo '{"status": HEALTHY}'`, wire.StatusUnknown, "decode the output of the probe"},
		"an unknown key": {`echo '{"sttus": "HEALTHY"}'`, wire.StatusUnknown, `the unknown key "sttus" is ignored`},
		"a wrong type":   {`echo '{"status": "HEALTHY", "shards": [{"id": "s", "lag": {"value": "3"}}]}'`, wire.StatusUnknown, `shards[0].lag.value must be a number, not "3"`},
		"NUL":            {`echo '{"status": "HEALTHY", "attributes": {"a\u0000b": 1}}'`, wire.StatusUnknown, "NUL"},
		"no status":      {`echo '{}'`, wire.StatusUnknown, "no status"},
		"no such status": {`echo '{"status": "FINE"}'`, wire.StatusUnknown, "FINE"},
		"nothing":        {`true`, wire.StatusUnknown, "printed nothing"},
		"a key twice":    {`echo '{"status": "HEALTHY", "shards": [{"id": "s", "lag": {"value":99999,"value":1,"unit":"s"}}]}'`, wire.StatusUnknown, `the key "shards[0].lag.value" is given twice`},
		"shards twice":   {`echo '{"status": "HEALTHY", "shards": [], "shards": [{"id": "s"}]}'`, wire.StatusUnknown, `the key "shards" is given twice`},
		"two":            {`echo '{"status": "HEALTHY"} {"status": "HEALTHY"}'`, wire.StatusUnknown, "more than one"},
		"too slow":       {"sleep 1000 & sleep 1000", wire.StatusUnknown, "did not end within 500ms"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, agent.Config{Probe: probe(c.script)})
			info, err := s.NodeInfo(t.Context(), s.url)
			if err != nil {
				t.Fatal(err)
			}
			if status, _ := wire.ParseStatus(info.NodeStatus); status != c.status || !strings.Contains(info.StatusReason, c.reason) {
				t.Errorf("%s, %q; want %s, %q", status, info.StatusReason, c.status, c.reason)
			}
			if _, answer := s.raw("/info/shards"); answer != "{}" || info.Shards != nil {
				t.Errorf("shards that are not known: %s, %v", answer, info.Shards)
			}
		})
	}
}

func TestAByteOrderMarkBeforeTheOutputOfAProbeIsIgnored(t *testing.T) {
	for name, script := range map[string]string{
		"alone":             `printf '\357\273\277{"status": "HEALTHY"}'`,
		"before a line":     `printf '\357\273\277warning\n{"status": "HEALTHY"}'`,
		"behind a line":     `printf 'warning\n\357\273\277{"status": "HEALTHY"}'`,
		"behind whitespace": `printf '\n \357\273\277\n{"status": "HEALTHY"}'`,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, agent.Config{Probe: probe(script)})
			info, err := s.NodeInfo(t.Context(), s.url)
			if status, _ := wire.ParseStatus(info.NodeStatus); err != nil || status != wire.StatusHealthy || strings.Contains(info.StatusReason, "\uFEFF") {
				t.Errorf("%s, %q, %v", status, info.StatusReason, err)
			}
		})
	}
}

func TestOneProbeAtATimeServesAllCallers(t *testing.T) {
	var running, most, calls atomic.Int32
	gate := make(chan struct{})
	s := serve(t, agent.Config{Probe: func(context.Context) (agent.Info, error) {
		calls.Add(1)
		most.Store(max(most.Load(), running.Add(1)))
		<-gate
		running.Add(-1)
		return agent.Info{Status: wire.StatusHealthy}, nil
	}})
	var asks sync.WaitGroup
	for range 30 {
		asks.Go(func() {
			if _, err := s.NodeInfo(context.Background(), s.url); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the probe is called", func() bool { return calls.Load() == 1 })
	close(gate)
	asks.Wait()
	if most.Load() != 1 || calls.Load() > 5 {
		t.Errorf("%d at once, %d in all", most.Load(), calls.Load())
	}
}

func TestFactsFromBeforeTheEndOfAnActionAreNotReturnedAfterIt(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	s := serve(t, agent.Config{DataDir: t.TempDir(), Probe: probe(`cat ` + state),
		Actions: map[string]agent.Command{"set": sh(`echo "{\"status\": \"$REPLICANTE_ARG_STATUS\"}" >` + state)}})
	for range 3 {
		for _, want := range []string{wire.StatusUnhealthy, wire.StatusHealthy} {
			s.end(s.post(external+"set", fmt.Sprintf(`{"status": %q}`, want), nil))
			info, err := s.NodeInfo(t.Context(), s.url)
			if err != nil {
				t.Fatal(err)
			}
			if status, _ := wire.ParseStatus(info.NodeStatus); status != want {
				t.Fatalf("right after the action the node is %s, want %s", status, want)
			}
		}
	}
}

func TestAChangeIsPublishedOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	write := func(status string) {
		if err := os.WriteFile(file+".new", []byte(`{"status": "`+status+`"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("HEALTHY")
	published := make(chan string, 100)
	a := agent.New(agent.Config{NodeID: "n", ClusterID: "c", Probe: probe("cat " + file), ProbeInterval: 10 * time.Millisecond,
		OnInfo: func(i agent.Info) { published <- i.Status }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	for _, status := range []string{"HEALTHY", "UNHEALTHY", "HEALTHY"} {
		write(status)
		if got := <-published; got != status {
			t.Errorf("published of %s, want %s", got, status)
		}
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if len(published) != 0 {
		t.Errorf("published of %d more changes", len(published))
	}
}

func TestTheFactsOfAProbeThatWasStoppedAreNotPublished(t *testing.T) {
	began := make(chan struct{}, 1)
	published := make(chan agent.Info, 1)
	a := agent.New(agent.Config{NodeID: "n", ClusterID: "c",
		Probe: func(ctx context.Context) (agent.Info, error) {
			began <- struct{}{}
			<-ctx.Done()
			return agent.Info{}, ctx.Err()
		},
		OnInfo: func(i agent.Info) { published <- i }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	<-began
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case info := <-published:
		t.Errorf("published of %+v although the agent only closed", info)
	default:
	}
}

func TestWhatAProbePrintsMayBeWrittenInSeveralForms(t *testing.T) {
	s := serve(t, agent.Config{Probe: probe(`echo '(warning: a client said something)'
		echo '{"status": "HEALTHY", "store_version": 7.20, "store_id": 12, "role": "master", "colour": "red",
		"attributes": {"n": 9007199254740993, "x": 7.10},
		"shards": [{"id": 0, "role": "slave", "lag": {"value": 0.25, "unit": "seconds", "more": 1}}, {"id": "b", "lag": {"value": 3.0}}, {"id": "c", "lag": null}]}'`)})
	info, err := s.NodeInfo(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := wire.ParseStatus(info.NodeStatus); status != wire.StatusHealthy || info.StoreVersion.Number != "7.20" || info.StoreID != "12" ||
		info.Role != "master" || fmt.Sprint(info.Attributes) != "map[n:9007199254740993 x:7.10]" {
		t.Errorf("%+v", info)
	}
	if len(info.Shards) != 3 || info.Shards[0].ID != "0" || wire.ParseRole(info.Shards[0].Role) != "slave" || info.Shards[0].Lag.Value != 0.25 ||
		info.Shards[1].Lag.Value != 3 || info.Shards[2].Lag != nil {
		t.Errorf("%+v", info.Shards)
	}
	for _, want := range []string{`"colour"`, `"shards[0].lag.more"`, "warning: a client said something"} {
		if !strings.Contains(info.StatusReason, want) {
			t.Errorf("the reason %q lacks %q", info.StatusReason, want)
		}
	}
}

func TestOneLookIsOneRunOfASlowProbe(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	s := serve(t, agent.Config{Probe: probe(`echo >>` + runs + `; n=$(wc -l <` + runs + `); sleep 0.3
		echo "{\"status\": \"HEALTHY\", \"attributes\": {\"n\": $n}, \"shards\": [{\"id\": \"$n\"}]}"`)})
	for n := 1; n <= 2; n++ {
		want := fmt.Sprint(n)
		info, err := s.NodeInfo(t.Context(), s.url)
		if err != nil {
			t.Fatal(err)
		}
		store, err := s.StoreInfo(t.Context(), s.url)
		if err != nil {
			t.Fatal(err)
		}
		shards, err := s.ShardsInfo(t.Context(), s.url)
		if err != nil {
			t.Fatal(err)
		}
		if !info.OneProbe || fmt.Sprint(info.Attributes["n"]) != want || info.Shards[0].ID != want || fmt.Sprint(store.Attributes["n"]) != want || shards.Shards[0].ID != want {
			t.Errorf("look %d: %v %v, %v, %v", n, info.Attributes, info.Shards, store, shards)
		}
	}
}
