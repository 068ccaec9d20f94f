package main

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
)

const documents = apitest.Playbook + `---
apiVersion: replicante.io/v1
kind: Schedule
metadata: {name: nightly, labels: {team: data}}
spec: {playbook: restart, cluster: demo, params: {count: 3}, cron: "0 2 * * *", time_zone: Europe/Rome}
---
apiVersion: replicante.io/v1
kind: Freeze
metadata: {name: sales}
spec: {clusters: ["orders*"], from: 2026-11-27T00:00:00Z, to: 2026-11-30T00:00:00Z, reason: peak}
`

func TestSchedulesAndFreezesAreShownSuspendedAndDeleted(t *testing.T) {
	d := newOperator(t)
	d.write(d.file, documents)
	contains := func(out string, wanted ...string) {
		t.Helper()
		for _, want := range wanted {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
	}
	contains(d.ok("apply", "-f", d.file), "Schedule  nightly  1", "Freeze    sales    1")
	contains(d.ok("schedule", "list"), "nightly", "Europe/Rome", "00Z")
	contains(d.ok("schedule", "get", "nightly"), `{"count":3}`, "0 2 * * * (Europe/Rome)", "Start within:  1h")
	contains(d.ok("schedule", "suspend", "nightly"), "next suspended")
	contains(d.ok("schedule", "list"), "suspended")
	if s := read[record.Schedule](t, d.ok("schedule", "get", "nightly", "-o", "json")); !s.Spec.Suspended || s.Labels["team"] != "data" {
		t.Errorf("%+v", s)
	}
	contains(d.ok("schedule", "resume", "nightly"), "00Z")
	contains(d.ok("freeze", "list"), "sales", "from 2026-11-27T00:00:00Z until 2026-11-30T00:00:00Z", "peak")
	contains(d.ok("freeze", "get", "sales"), "orders*")
	for _, kind := range []string{"schedule", "freeze"} { // what is printed can be applied again, and changes nothing
		name := map[string]string{"schedule": "nightly", "freeze": "sales"}[kind]
		d.write(d.file, d.ok(kind, "get", name, "-o", "yaml"))
		contains(d.ok("apply", "-f", d.file), "unchanged")
		if out := d.ok("__complete", kind, "get", ""); !strings.Contains(out, name) {
			t.Errorf("completed: %s", out)
		}
		contains(d.ok(kind, "delete", name), kind+" "+name+" is deleted")
		contains(d.ok("apply", "-f", d.file), "created")
		d.ok(kind, "delete", name)
		d.fails(exitError, "replictl "+kind+" list", kind, "get", name)
	}
}

func TestAStartOverridesAFreezeOnlyWithAReason(t *testing.T) {
	d := newOperator(t)
	d.ok("apply", "-f", d.file)
	d.Fail(&record.RejectedError{Code: record.CodeFrozen, Data: record.Document{"cluster": "demo", "freeze": "sales"}})
	d.fails(exitError, "replictl run start restart --cluster demo --override-freeze --reason WHY", "run", "start", "restart", "--cluster", "demo")
	d.Fail(nil)
	d.fails(exitUsage, "--override-freeze requires --reason", "run", "start", "restart", "--cluster", "demo", "--override-freeze")
	d.ok("run", "start", "restart", "--cluster", "demo", "--override-freeze", "--reason", "disk full")
	if _, starts, _ := d.Received(); !starts[len(starts)-1].OverrideFreeze || starts[len(starts)-1].Reason != "disk full" {
		t.Errorf("%+v", starts)
	}
	for data, want := range map[string]string{"sales": "freeze sales is overridden: disk full", "": "freezes are overridden: disk full"} {
		e := record.Event{Type: record.EventFreezeOverridden, Data: record.Document{"freeze": data, "reason": "disk full"}}
		if line := eventText(e); line != want {
			t.Errorf("%q, not %q", line, want)
		}
	}
}
