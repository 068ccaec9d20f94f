package playbook_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

const scheduleHead = "apiVersion: replicante.io/v1\nkind: Schedule\nmetadata: {name: nightly}\nspec:\n"

func schedule(t *testing.T, spec string) *playbook.Schedule {
	t.Helper()
	documents, err := playbook.ParseDocuments("x.yaml", []byte(scheduleHead+spec))
	if err != nil {
		t.Fatal(err)
	}
	return documents.Schedules[0]
}

func TestAScheduleIsReadWithItsDefaults(t *testing.T) {
	s := schedule(t, "  playbook: backup\n  cluster: orders\n  cron: '0 2 * * *'\n")
	want := record.ScheduleSpec{Playbook: "backup", Cluster: "orders", Cron: "0 2 * * *", TimeZone: "UTC", StartWithin: "1h", IfRunning: record.IfRunningSkip}
	if diff := cmp.Diff(want, s.Spec); diff != "" || !s.KeepSuspended || s.Name != "nightly" {
		t.Errorf("%s %+v", diff, s)
	}
	s = schedule(t, "  {playbook: backup, revision: 3, cluster: orders, params: {n: 1, hosts: [a]}, where: 'node.id == \"a\"', cron: '@daily', "+
		"time_zone: Europe/Rome, start_within: 90m, if_running: queue, suspended: true}\n")
	want = record.ScheduleSpec{Playbook: "backup", Revision: 3, Cluster: "orders", Params: record.Document{"n": int64(1), "hosts": []any{"a"}},
		Where: `node.id == "a"`, Cron: "@daily", TimeZone: "Europe/Rome", StartWithin: "1h30m", IfRunning: record.IfRunningQueue, Suspended: true}
	if diff := cmp.Diff(want, s.Spec); diff != "" || s.KeepSuspended {
		t.Error(diff)
	}
}

func TestAFreezeIsReadWithItsTimesOrItsWindows(t *testing.T) {
	const head = "apiVersion: replicante.io/v1\nkind: Freeze\nmetadata: {name: sales, labels: {team: data}}\nspec:\n"
	documents, err := playbook.ParseDocuments("x.yaml", []byte(
		head+"  {clusters: ['orders*'], from: 2026-11-27T00:00:00Z, to: \"2026-11-30T00:00:00+01:00\", reason: peak sales}\n---\n"+
			strings.Replace(head, "sales", "nights", 1)+"  {clusters: [a, 'b?'], windows: [{cron: '0 22 * * *', for: 6h}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	from, to := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 29, 23, 0, 0, 0, time.UTC)
	want := []*playbook.Freeze{
		{Name: "sales", Labels: map[string]string{"team": "data"}, Spec: record.FreezeSpec{Clusters: []string{"orders*"}, From: &from, To: &to, Reason: "peak sales"}},
		{Name: "nights", Labels: map[string]string{"team": "data"}, Spec: record.FreezeSpec{Clusters: []string{"a", "b?"},
			Windows: []record.Window{{Cron: "0 22 * * *", For: "6h", TimeZone: "UTC"}}}},
	}
	if diff := cmp.Diff(want, documents.Freezes); diff != "" {
		t.Error(diff)
	}
	for text, holds := range map[string]bool{"2026-07-01T23:00:00Z": true, "2026-07-01T12:00:00Z": false} {
		at, _ := time.Parse(time.RFC3339, text)
		period, err := playbook.PeriodOf(&documents.Freezes[1].Spec)
		if err != nil || period.Holds(at) != holds {
			t.Errorf("at %s it holds: %t, %v", text, !holds, err)
		}
	}
}

func TestAScheduleIsCheckedAgainstItsPlaybook(t *testing.T) {
	spec := parse(t, "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: backup}\nspec:\n  params: [{name: n, type: int, required: true}]\n"+
		"  stages: [{name: a, steps: [{name: one, action: x}]}]\n")[0].Spec
	const rest = "  playbook: backup\n  cluster: orders\n  cron: '0 2 * * *'\n"
	for text, want := range map[string]string{
		rest + "  params: {n: 1}\n":       "",
		rest:                              "x.yaml:5:13: param n: is required (type int)",
		rest + "  params: {n: 1, m: 2}\n": `x.yaml:8:21: unknown param "m"`,
		rest + "  params: {n: one}\n":     "x.yaml:8:15: param n: must be an integer",
		rest + "  params: {n: 1}\n  where: 'node.size'\n":             "",
		rest + "  params: {n: 1}\n  where: 'node.attributes.a == '\n": "x.yaml:9:10: where, character",
	} {
		problems := schedule(t, text).Check(spec)
		if want == "" && text == rest+"  params: {n: 1}\n" && len(problems) > 0 || want != "" && !strings.Contains(problems.Error(), want) {
			t.Errorf("%s: %v", text, problems)
		}
	}
	if p := schedule(t, rest+"  revision: 4\n").UnknownPlaybook(); p.Line != 8 || p.Column != 13 || p.Path != "spec.revision" {
		t.Errorf("%+v", p)
	}
}

func TestABadScheduleOrFreezeIsRefusedWithItsPlaceAndTheReason(t *testing.T) {
	const freezeHead = "apiVersion: replicante.io/v1\nkind: Freeze\nmetadata: {name: f}\nspec:\n"
	for text, want := range map[string]string{
		"apiVersion: replicante.io/v1\nkind: Schedule\n":                                                                                     "1:1: metadata: is missing",
		scheduleHead + "  {playbook: b, cluster: c}\n":                                                                                       "5:3: cron: is missing",
		scheduleHead + "  {playbook: b, cluster: c, cron: '* * *'}\n":                                                                        "5:35: cron: \"* * *\" is not a valid cron expression",
		scheduleHead + "  {playbook: b, cluster: c, cron: '0 0 30 2 *'}\n":                                                                   "never comes",
		scheduleHead + "  {playbook: b, cluster: c, cron: '@daily', time_zone: Rome}\n":                                                      `"Rome" is not a known time zone`,
		scheduleHead + "  {playbook: B_, cluster: c, cron: '@daily'}\n":                                                                      "5:14: playbook: \"B_\" is not a valid name",
		scheduleHead + "  {playbook: b, cluster: 'c/d', cron: '@daily'}\n":                                                                   "is not a valid cluster",
		scheduleHead + "  {playbook: b, cluster: c, cron: '@daily', revision: 0}\n":                                                          "revision: must be between 1 and",
		scheduleHead + "  {playbook: b, cluster: c, cron: '@daily', params: [a]}\n":                                                          "params: must be a mapping",
		scheduleHead + "  {playbook: b, cluster: c, cron: '@daily', params: {a: no}}\n":                                                      "some YAML parsers read no as a boolean",
		scheduleHead + "  {playbook: b, cluster: c, cron: '@daily', start_within: 1ms}\n":                                                    "start_within: must be between 1s and",
		scheduleHead + "  {playbook: b, cluster: c, cron: '@daily', if_running: skipp}\n":                                                    "did you mean skip?",
		scheduleHead + "  {playbook: b, cluster: c, cron: '@daily', suspend: true}\n":                                                        "suspend: unknown key; did you mean suspended?",
		strings.Replace(scheduleHead, "name: nightly", "name: n, version: a", 1) + "  {playbook: b, cluster: c, cron: '@daily'}\n":           "version: unknown key",
		scheduleHead + "  {playbook: b, cluster: c, cron: '@daily'}\n---\n" + scheduleHead + "  {playbook: b, cluster: c, cron: '@daily'}\n": `"nightly" is already the name of the schedule at line 3`,

		freezeHead + "  {clusters: [a]}\n":                                                                 "5:3: from: is missing; write from, to or both, or windows",
		freezeHead + "  {from: 2026-11-27T00:00:00Z}\n":                                                    "clusters: is missing",
		freezeHead + "  {clusters: [], from: 2026-11-27T00:00:00Z}\n":                                      "clusters: is empty",
		freezeHead + "  {clusters: ['a/b'], from: 2026-11-27T00:00:00Z}\n":                                 "is not a valid pattern of clusters",
		freezeHead + "  {clusters: [1], from: 2026-11-27T00:00:00Z}\n":                                     "must be a string",
		freezeHead + "  {clusters: [a], from: 2026-11-27}\n":                                               `from: "2026-11-27" is not a valid time`,
		freezeHead + "  {clusters: [a], from: 5}\n":                                                        "from: must be a time such as",
		freezeHead + "  {clusters: [a], from: 2026-11-27T00:00:00Z, to: 2026-11-26T00:00:00Z}\n":           "to: must be later than from",
		freezeHead + "  {clusters: [a], to: 2026-11-27T00:00:00Z, windows: [{cron: '@daily', for: 1h}]}\n": "windows: cannot be given together with from and to",
		freezeHead + "  {clusters: [a], windows: [{cron: '@daily'}]}\n":                                    "for: is missing",
		"apiVersion: replicante.io/v1\nkind: freeze\n":                                                     "did you mean Freeze?",
	} {
		_, err := playbook.ParseDocuments("x.yaml", []byte(text))
		var problems record.Problems
		if !errors.As(err, &problems) || !strings.Contains(problems.Error(), want) {
			t.Errorf("%s: %v, not %q", text, err, want)
		}
	}
}
