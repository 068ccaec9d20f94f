package replica_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/replica"
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

func metricsTell(t *testing.T, f *field) {
	f.agent("a")
	f.agent("b")
	memory := storetest.NewMemory()
	var failing sync.Map
	s := shared{&store.Interceptor{Store: memory, Call: func(_ context.Context, method string, do func() error) error {
		if _, fails := failing.LoadAndDelete(method); fails {
			return fmt.Errorf("%s: %w", method, store.ErrUnavailable)
		}
		return do()
	}}}
	leader := f.start(f.config("core-1", ""), s)
	leader.ready()
	follower := f.start(f.config("core-2", ""), s)
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
		`replicante_nodes_present{cluster="c"}`: 2, `replicante_nodes{cluster="c",status="UNREACHABLE"}`: 0, "replicante_store_away": 0,
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
		if strings.HasPrefix(name, "replicante_nodes") || strings.HasPrefix(name, "replicante_runs{") {
			t.Errorf("a follower counts %s", name)
		}
	}
}

// lines keeps a JSON log's lines.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) log() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "replicore", Output: l, JSONFormat: true, Level: hclog.Info})
}

// leaderships are the lines about who leads, in short.
func (l *lines) leaderships(t *testing.T) []string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var short []string
	for line := range bytes.Lines(l.text.Bytes()) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if fields["leadership"] == nil {
			continue
		}
		text := fmt.Sprint(fields["leadership"], " ", fields["term"])
		for _, key := range []string{"reason", "leader", "after", "after_term", "open_runs"} {
			if value := fields[key]; value != nil {
				text += fmt.Sprintf(" %s=%v", key, value)
			}
		}
		short = append(short, text)
	}
	return short
}

func (l *lines) want(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got = l.leaderships(t); len(got) >= len(want) {
			break
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("it says\n\t%s\nnot\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func oneLineEach(t *testing.T, f *field) {
	memory := shared{storetest.NewMemory()}
	start := func(name string) (*running, *lines) {
		log := &lines{}
		config := f.config(name, "")
		config.Log = log.log()
		return f.start(config, memory), log
	}
	first, firstLog := start("core-1")
	first.ready()
	second, secondLog := start("core-2")
	second.ready()
	secondLog.want(t, "followed 1 leader=core-1")
	first.stop()
	firstLog.want(t, "gained 1 open_runs=0", "lost 1 reason=stopped")
	secondLog.want(t, "followed 1 leader=core-1", "gained 2 after=core-1 after_term=1 open_runs=0")

	if _, err := f.etcd.Delete(t.Context(), f.prefix+"/election/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	secondLog.want(t, "followed 1 leader=core-1", "gained 2 after=core-1 after_term=1 open_runs=0", "lost 2 reason=key_lost",
		"gained 3 after=core-2 after_term=2 open_runs=0")

	if _, err := memory.BeginTerm(t.Context(), 10); err != nil { // as a replica of another network would
		t.Fatal(err)
	}
	f.agent("a") // saving it is refused
	secondLog.want(t, "followed 1 leader=core-1", "gained 2 after=core-1 after_term=1 open_runs=0", "lost 2 reason=key_lost",
		"gained 3 after=core-2 after_term=2 open_runs=0", "lost 3 reason=later_term", "gained 12 after=core-2 after_term=3 open_runs=0")
	if got := scrape(t, second); got["replicante_takeovers_total"] != 3 ||
		got[`replicante_leaderships_lost_total{reason="key_lost"}`] != 1 || got[`replicante_leaderships_lost_total{reason="later_term"}`] != 1 {
		t.Errorf("%v", got)
	}
}

func whyNotTaken(t *testing.T, f *field) {
	url := f.sqlite()
	first := f.start(f.config("core-1", url), nil)
	first.ready()
	first.stop()
	f.prefix += "-rebuilt"
	log := &lines{}
	config := f.config("core-2", url)
	config.Log = log.log()
	second := f.start(config, nil)
	second.refused(replica.ErrOtherInstallation.Error())
	given := f.etcd.Watch(t.Context(), f.prefix+"/election/", clientv3.WithPrefix(), clientv3.WithFilterPut())
	for range 3 { // it is elected and refuses again
		<-given
	}
	log.want(t, "declined <nil> reason=other_installation")
}
