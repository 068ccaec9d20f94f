package replica_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/replica"
	"github.com/replicante-io/playbooks/store/storetest"
)

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

func (l *lines) contains(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
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
		t.Errorf("it logs\n\t%s\nnot\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func oneLineEach(t *testing.T, i *installation) {
	memory := shared{storetest.NewMemory()}
	start := func(name string) (*running, *lines) {
		log := &lines{}
		config := i.config(name, "")
		config.Log = log.log()
		return i.start(config, memory), log
	}
	first, firstLog := start("core-1")
	first.ready()
	second, secondLog := start("core-2")
	second.ready()
	secondLog.want(t, "followed 1 leader=core-1")
	first.stop()
	firstLog.want(t, "gained 1 open_runs=0", "lost 1 reason=stopped")
	secondLog.want(t, "followed 1 leader=core-1", "gained 2 after=core-1 after_term=1 open_runs=0")

	if _, err := i.etcd.Delete(t.Context(), i.prefix+"/election/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	secondLog.want(t, "followed 1 leader=core-1", "gained 2 after=core-1 after_term=1 open_runs=0", "lost 2 reason=key_lost",
		"gained 3 after=core-2 after_term=2 open_runs=0")

	if _, err := memory.BeginTerm(t.Context(), 10); err != nil { // as a replica of another network would
		t.Fatal(err)
	}
	i.agent("a") // saving it is refused
	secondLog.want(t, "followed 1 leader=core-1", "gained 2 after=core-1 after_term=1 open_runs=0", "lost 2 reason=key_lost",
		"gained 3 after=core-2 after_term=2 open_runs=0", "lost 3 reason=later_term", "gained 12 after=core-2 after_term=3 open_runs=0")
	if got := scrape(t, second); got["replicante_takeovers_total"] != 3 ||
		got[`replicante_leaderships_lost_total{reason="key_lost"}`] != 1 || got[`replicante_leaderships_lost_total{reason="later_term"}`] != 1 {
		t.Errorf("%v", got)
	}
}

func whyNotTaken(t *testing.T, i *installation) {
	url := i.sqlite()
	first := i.start(i.config("core-1", url), nil)
	first.ready()
	first.stop()
	i.prefix += "-rebuilt"
	log := &lines{}
	config := i.config("core-2", url)
	config.Log = log.log()
	second := i.start(config, nil)
	second.refused(replica.ErrOtherInstallation.Error())
	given := i.etcd.Watch(t.Context(), i.prefix+"/election/", clientv3.WithPrefix(), clientv3.WithFilterPut())
	for range 3 { // it is elected and refuses again
		<-given
	}
	log.want(t, "declined <nil> reason=other_installation")
}
