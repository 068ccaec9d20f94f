package api_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	schedule = "---\napiVersion: replicante.io/v1\nkind: Schedule\nmetadata: {name: nightly}\nspec:\n  playbook: restart\n  cluster: demo\n  cron: '0 2 * * *'\n"
	freeze   = "---\napiVersion: replicante.io/v1\nkind: Freeze\nmetadata: {name: sales}\nspec: {clusters: ['orders*'], from: 2026-11-27T00:00:00Z, reason: peak}\n"
)

func TestDocumentsOfSeveralKindsAreAppliedTogether(t *testing.T) {
	_, h := leading(t)
	text := freeze + schedule + "---\n" + apitest.Playbook
	list := into[items[api.Applied]](t, ok(t, call(t, h, "POST", "/api/v1/apply", text), 200))
	want := []api.Applied{{Kind: "Playbook", Name: "restart", Revision: 1, Version: "1", Created: true},
		{Kind: "Schedule", Name: "nightly", Revision: 1, Created: true}, {Kind: "Freeze", Name: "sales", Revision: 1, Created: true}}
	if len(list.Items) != 3 || list.Items[0] != want[0] || list.Items[1] != want[1] || list.Items[2] != want[2] {
		t.Fatalf("%+v", list.Items)
	}
	list = into[items[api.Applied]](t, ok(t, call(t, h, "POST", "/api/v1/apply", strings.Replace(text, "0 2 *", "0 3 *", 1)), 200))
	if list.Items[0].Created || !list.Items[1].Created || list.Items[1].Revision != 2 || list.Items[2].Created || list.Items[2].Revision != 1 {
		t.Fatalf("%+v", list.Items)
	}
	found := into[record.Freeze](t, ok(t, call(t, h, "GET", "/api/v1/freezes/sales", ""), 200))
	if found.Spec.Reason != "peak" || found.Spec.From == nil {
		t.Fatalf("%+v", found)
	}
	ok(t, call(t, h, "DELETE", "/api/v1/freezes/sales", ""), 204)
	rejected(t, call(t, h, "DELETE", "/api/v1/freezes/sales", ""), 404, "not_found", `there is no freeze "sales"`)
	if left := into[items[record.Freeze]](t, ok(t, call(t, h, "GET", "/api/v1/freezes", ""), 200)); len(left.Items) != 0 {
		t.Fatalf("%+v", left)
	}
}

func TestAScheduleOfWhatDoesNotExistIsRefusedWithItsPlace(t *testing.T) {
	p, h := leading(t)
	for text, want := range map[string]string{
		schedule: "8:13 unknown_playbook",
		"---\n" + apitest.Playbook + schedule + "  revision: 2\n":                         "unknown_playbook",
		"---\n" + apitest.Playbook + schedule + "  params: {count: x}\n":                  "params.count",
		"---\n" + apitest.Playbook + schedule + "  where: 'node.id =='\n":                 "bad_expression",
		"---\n" + apitest.Playbook + schedule + "  params: {nosuch: x}\n" + freeze:        "unknown_param",
		"---\n" + apitest.Playbook + schedule + "---\n" + strings.Trim(schedule, "-\n\r"): "duplicate",
	} {
		for _, path := range []string{"/api/v1/validate?file=a.yaml", "/api/v1/apply?file=a.yaml"} {
			f := rejected(t, call(t, h, "POST", path, text), 422, "invalid_playbook")
			found := ""
			for _, p := range f.Problems {
				if p.File != "a.yaml" || p.Line == 0 {
					t.Errorf("%+v has no place", p)
				}
				found += p.Code + " " + p.Path + " " + p.Message + "\n"
			}
			if !strings.Contains(found, strings.TrimPrefix(want, "8:13 ")) {
				t.Errorf("%s: %s, not %s", text, found, want)
			}
		}
	}
	if _, err := p.Schedule(t.Context(), "nightly"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("it was stored: %v", err)
	}
	ok(t, call(t, h, "POST", "/api/v1/apply", "---\n"+apitest.Playbook+schedule+"  revision: 1\n"), 200) // the one of the request
}

func TestAScheduleShowsItsNextDueTimeAndResults(t *testing.T) {
	p, h := leading(t)
	ok(t, call(t, h, "POST", "/api/v1/apply", "---\n"+apitest.Playbook+schedule), 200)
	read := func() record.Schedule {
		return into[record.Schedule](t, ok(t, call(t, h, "GET", "/api/v1/schedules/nightly", ""), 200))
	}
	first := read()
	if first.NextTS == nil || first.NextTS.Hour() != 2 || !first.NextTS.After(time.Now()) || first.NextTS.After(time.Now().Add(25*time.Hour)) {
		t.Fatalf("%+v", first)
	}
	term, err := p.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []*record.Error{
		{Code: record.CodeScheduleLate, Data: record.Document{"start_within": "1h"}}, {Code: record.CodeScheduleLate, Data: record.Document{"later": "2026-01-01T02:00:00Z"}},
		{Code: record.CodeScheduleRunning, Data: record.Document{"run": "r1"}}, {Code: record.CodeScheduleError, Data: record.Document{"error": "disk full"}},
		{Code: record.CodeNoNodes, Data: record.Document{"cluster": "demo"}}, {Code: record.CodeBadParams, Data: record.Document{"problems": "param n: is required"}},
	} {
		first.AddResult(record.ScheduleResult{DueTS: record.Now().Add(-time.Hour), TS: record.Now(), State: record.FiringSkipped, Reason: reason})
		first.Rev, first.NextTS = first.Rev+1, nil
		if err := p.SaveSchedule(t.Context(), term.Term, first, nil); err != nil {
			t.Fatal(err)
		}
		message := read().Results[0].Reason.Message
		for _, value := range reason.Data {
			if !strings.Contains(message, value.(string)) {
				t.Errorf("%s: %q", reason.Code, message)
			}
		}
		time.Sleep(2 * time.Millisecond) // another due time
	}
	suspended := into[record.Schedule](t, ok(t, call(t, h, "POST", "/api/v1/schedules/nightly/suspend", ""), 200))
	if !suspended.Spec.Suspended || suspended.NextTS != nil {
		t.Fatalf("%+v", suspended)
	}
	ok(t, call(t, h, "POST", "/api/v1/apply", schedule), 200)
	if !read().Spec.Suspended {
		t.Error("a document that does not say so has resumed it")
	}
	if resumed := into[record.Schedule](t, ok(t, call(t, h, "POST", "/api/v1/schedules/nightly/resume", ""), 200)); resumed.Spec.Suspended || resumed.NextTS == nil {
		t.Fatalf("%+v", resumed)
	}
	rejected(t, call(t, h, "POST", "/api/v1/schedules/other/suspend", ""), 404, "not_found", `there is no schedule "other"`)
	rejected(t, call(t, h, "GET", "/api/v1/schedules/other", ""), 404, "not_found", "other")
	ok(t, call(t, h, "DELETE", "/api/v1/schedules/nightly", "", "Idempotency-Key", "k"), 204)
	ok(t, call(t, h, "DELETE", "/api/v1/schedules/nightly", "", "Idempotency-Key", "k"), 204)
	rejected(t, call(t, h, "DELETE", "/api/v1/schedules/nightly", ""), 404, "not_found", "nightly")
}

func TestNoRequestHasTheKeyOfASchedule(t *testing.T) {
	_, h := leading(t)
	rejected(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook, "Idempotency-Key", "schedule/nightly/2026-01-01T02:00:00Z"), 400, "bad_idempotency_key")
}

func TestAStartInAFrozenClusterSaysWhyAndUntilWhen(t *testing.T) {
	p, h := leading(t)
	ok(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook), 200)
	data := record.Document{"cluster": "demo", "freeze": "sales", "why": "peak", "until": "2026-11-30T00:00:00Z"}
	p.Fail(&record.RejectedError{Code: record.CodeFrozen, Data: data})
	body := `{"playbook": "restart", "cluster": "demo"}`
	rejected(t, call(t, h, "POST", "/api/v1/runs", body, "Content-Type", "application/json"), 409, "frozen", "cluster demo is frozen by freeze sales: peak; until 2026-11-30T00:00:00Z")
	delete(data, "until")
	rejected(t, call(t, h, "POST", "/api/v1/runs", body, "Content-Type", "application/json"), 409, "frozen", "until the freeze is deleted")
	p.Fail(nil)
	override := `{"playbook": "restart", "cluster": "demo", "override_freeze": true`
	rejected(t, call(t, h, "POST", "/api/v1/runs", override+"}", "Content-Type", "application/json"), 400, "bad_request", "body.reason")
	ok(t, call(t, h, "POST", "/api/v1/runs", override+`, "reason": "disk full"}`, "Content-Type", "application/json"), 201)
	if _, starts, _ := p.Received(); !starts[len(starts)-1].OverrideFreeze {
		t.Error("the controller is not asked to override freezes")
	}
}
