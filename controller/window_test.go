package controller_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/record"
)

func TestARunOpensItsNextBatchInAWindowAlsoUnderTheNextLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newInstallation(t, 2, slow)
		h.apply("nightly", "  windows: [{cron: '0 22 * * *', for: 1m, time_zone: Europe/Rome}]\n"+
			"  stages: [{name: a, health: none, steps: [{name: a, action: x/a, args: {delay: 90s}}]}]\n")
		h.lead()
		defer func() { h.kill() }()
		id := h.start(record.Request{}, record.RunRequest{Playbook: "nightly"}).ID
		h.await(id, record.RunRunning)
		time.Sleep(time.Second)
		run := h.await(id, record.RunRunning)
		if run.Waiting == nil || run.Waiting.For != record.WaitWindow || run.Waiting.Until == nil {
			t.Fatalf("it waits for %+v", run.Waiting)
		}
		first := *run.Waiting.Until
		h.kill()
		h.lead()
		time.Sleep(time.Until(first) + 5*time.Minute)
		if run = h.await(id, record.RunRunning); run.Counts[record.NodeDone] != 1 || run.Waiting == nil || !run.Waiting.Until.Equal(first.Add(24*time.Hour)) {
			t.Fatalf("%v are done, it waits for %+v", run.Counts, run.Waiting)
		}
		time.Sleep(24 * time.Hour)
		h.await(id, record.RunDone)
		h.onceEach()
	})
}
