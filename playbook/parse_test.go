package playbook_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/internal/calendar"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

var compareSpecs = cmp.Options{
	cmp.Comparer(func(a, b *playbook.Expr) bool {
		return (a == nil) == (b == nil) && (a == nil || a.String() == b.String() &&
			a.NeedsFacts() == b.NeedsFacts() && a.NeedsAllNodes() == b.NeedsAllNodes())
	}),
	cmp.Comparer(func(a, b *calendar.Cron) bool {
		next, _ := a.Next(time.Unix(0, 0))
		other, _ := b.Next(time.Unix(0, 0))
		return next.Equal(other)
	}),
	cmp.Comparer(func(a, b *playbook.Message) bool { return a.Text(someVars()) == b.Text(someVars()) }),
	cmp.Comparer(func(a, b *playbook.Template) bool {
		x, errX := a.Resolve(someVars())
		y, errY := b.Resolve(someVars())
		return cmp.Equal(x, y) && (errX == nil) == (errY == nil) && a.NeedsFacts() == b.NeedsFacts()
	}),
}

func someVars() playbook.Vars {
	return playbook.Vars{
		"params": record.Document{"grace": "30s", "count": int64(3), "tags": []any{"a", int64(1)}},
		"run":    map[string]any{"id": "r1", "cluster": "orders", "playbook": "full"},
		"node":   map[string]any{"id": "node-1", "cluster": "orders", "status": "HEALTHY", "role": "PRIMARY"},
	}
}

func parse(t testing.TB, text string) []*playbook.Playbook {
	t.Helper()
	playbooks, err := playbook.Parse("test.yaml", []byte(expand(text)))
	if err != nil {
		t.Fatal(err)
	}
	return playbooks
}

func TestEveryKeyIsRead(t *testing.T) {
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := parse(t, string(data))[0]
	if p.Name != "full" || p.Version != "1.2.0" || p.Labels["team"] != "data" || p.Source.Commit != "4f2c9e1" ||
		p.Source.Repository != "https://git.example/ops" || p.Source.Path != "playbooks/restart.yaml" {
		t.Errorf("head: %+v", p)
	}
	spec := p.Spec
	if spec.Description != "Restart every node, the primary last." || spec.Approval.Message.Text(someVars()) != "restart orders?" || spec.Approval.Timeout != time.Hour || spec.Approval.OnTimeout != playbook.TimeoutApprove ||
		spec.Concurrency != record.Shared ||
		spec.Membership != (playbook.MembershipPolicy{Added: playbook.AddedPause, Removed: playbook.RemovedFail, Grace: 45 * time.Second}) {
		t.Errorf("spec: %+v", spec)
	}
	if len(spec.Params) != 3 || spec.Params[0] != (playbook.Param{Name: "grace", Type: "duration", Default: "30s"}) || !spec.Params[1].Required {
		t.Errorf("params: %+v", spec.Params)
	}
	s := spec.Stages[0]
	if s.Targets.String() != `node.attributes.zone != "x"` || s.OrderBy == nil || s.Groups.By == nil || s.Groups.AtOnce != (playbook.Amount{Percent: 50}) || s.Guard == nil || *s.Pick != (playbook.Pick{Count: 3, AtLeast: 1}) ||
		!s.AllowEmpty || s.BatchPause != 10*time.Second || s.OnFailure != playbook.FailureRollback || len(s.Rollback) != 1 ||
		*s.Approval != (playbook.Approval{OnTimeout: playbook.TimeoutReject}) || *s.MaxUnavailable != (playbook.Amount{Count: 1}) || s.MaxFailures != (playbook.Amount{Percent: 10}) {
		t.Errorf("stage: %+v", s)
	}
	if !cmp.Equal(s.Batch, []playbook.Amount{{Count: 1}, {Percent: 25}}) {
		t.Errorf("batch: %v", s.Batch)
	}
	if s.Health.Check == nil || s.Health.Timeout != 3*time.Minute || s.Health.Interval != time.Second || s.Health.Settle != 5*time.Second {
		t.Errorf("health: %+v", s.Health)
	}
	step := s.Steps[0]
	if step.Action != "external.agent.replicante.io/restart-redis" || step.When == nil || step.Timeout != 5*time.Minute ||
		step.Retry != (playbook.Retry{Attempts: 3, Backoff: time.Second, MaxBackoff: 10 * time.Second}) || step.OnUnknown != playbook.UnknownRetry {
		t.Errorf("step: %+v", step)
	}
	if spec.Stages[1].Health != nil {
		t.Error("health: none must be no gate")
	}
}

func TestDefaultsAreThoseOfTheReference(t *testing.T) {
	spec := parse(t, "STAGE\n")[0].Spec
	want := &playbook.Spec{
		Concurrency: record.Exclusive,
		Membership:  playbook.MembershipPolicy{Added: playbook.AddedInclude, Removed: playbook.RemovedPause},
		Stages: []playbook.Stage{{
			Name: "a", Batch: []playbook.Amount{{Count: 1}}, OnFailure: playbook.FailureAbort,
			Health: &playbook.Health{Timeout: 2 * time.Minute, Interval: 2 * time.Second},
			Steps: []playbook.Step{{Name: "one", Action: "x", Timeout: 10 * time.Minute, OnUnknown: playbook.UnknownFail,
				Retry: playbook.Retry{Attempts: 1, Backoff: 5 * time.Second, MaxBackoff: time.Minute}}},
		}},
	}
	if diff := cmp.Diff(want, spec, compareSpecs); diff != "" {
		t.Error(diff)
	}
}

func TestALoadedDocumentIsThePlaybookThatWasParsed(t *testing.T) {
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parse(t, string(data)) {
		encoded, err := json.Marshal(p.Document)
		if err != nil {
			t.Fatal(err)
		}
		var document record.Document
		if err := json.Unmarshal(encoded, &document); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p.Document, document); diff != "" {
			t.Errorf("document (-parsed +read back):\n%s", diff)
		}
		spec, err := playbook.Load(document)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p.Spec, spec, compareSpecs); diff != "" {
			t.Errorf("spec (-parsed +loaded):\n%s", diff)
		}
	}
}

func TestLoadingABadDocumentGivesProblemsWithPaths(t *testing.T) {
	_, err := playbook.Load(record.Document{"stages": []any{map[string]any{"name": "a"}}, "foo": int64(1)})
	var problems record.Problems
	if !errors.As(err, &problems) || len(problems) != 2 || problems[0].Path == "" {
		t.Errorf("got %v", err)
	}
}

func TestAliasesAreExpandedInTheDocument(t *testing.T) {
	p := parse(t, `STEP
          args:
            a: &shared {list: [1, 2.5, 2.0, "yes", null, "2024-01-02", true]}
            b: *shared
`)[0]
	args := p.Document["stages"].([]any)[0].(map[string]any)["steps"].([]any)[0].(map[string]any)["args"]
	list := map[string]any{"list": []any{int64(1), 2.5, 2.0, "yes", nil, "2024-01-02", true}}
	if diff := cmp.Diff(map[string]any{"a": list, "b": list}, args); diff != "" {
		t.Error(diff)
	}
}

func TestKeysThatBeginWithXAreAPlaceForAnchors(t *testing.T) {
	p := parse(t, `apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: x}
x-steps: &steps [{name: one, action: x}]
x-empty:
spec: {stages: [{name: a, steps: *steps}, {name: b, steps: *steps}]}
`)[0]
	if len(p.Spec.Stages) != 2 || p.Spec.Stages[1].Steps[0].Name != "one" || len(p.Document) != 1 {
		t.Errorf("%+v", p)
	}
	if _, err := playbook.Parse("x.yaml", []byte("apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: x}\nspec: {x-a: 1, stages: [{name: a, steps: [{name: one, action: x}]}]}\n")); err == nil {
		t.Error("a key x-… inside spec was accepted")
	}
}

func TestSeveralDocumentsAreSeveralPlaybooks(t *testing.T) {
	one := `apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: NAME}
spec: {stages: [{name: a, steps: [{name: one, action: x}]}]}
`
	text := "\ufeff---\n# a comment only\n---\n" + strings.Replace(one, "NAME", "x", 1) + "---\n---\n" + strings.Replace(one, "NAME", "z", 1) + "...\n"
	playbooks := parse(t, text)
	if len(playbooks) != 2 || playbooks[0].Name != "x" || playbooks[1].Name != "z" {
		t.Errorf("got %v", playbooks)
	}
}

func TestJSONIsAPlaybookToo(t *testing.T) {
	p := parse(t, `{"apiVersion": "replicante.io/v1", "kind": "Playbook", "metadata": {"name": "x", "version": "1\u002e0"},
	"spec": {"stages": [{"name": "a", "batch": ["50%"], "steps": [{"name": "one", "action": "x"}]}]}}`)[0]
	if p.Version != "1.0" || p.Spec.Stages[0].Batch[0].Percent != 50 {
		t.Errorf("got %+v", p)
	}
}

func TestTextThatIsNotUTF8IsRefusedAtItsFirstBadByte(t *testing.T) {
	for name, c := range map[string]struct {
		text, code, message string
		line, column        int
	}{
		"latin 1":     {"a: b\né: \xe9", "encoding", "0xe9", 2, 4},
		"truncated":   {"a: \xe2\x82", "encoding", "0xe2", 1, 4},
		"utf-16 le":   {"\xff\xfea\x00", "encoding", "UTF-16", 1, 1},
		"utf-16 be":   {"\xfe\xff\x00a", "encoding", "UTF-16", 1, 1},
		"utf-16 bare": {"a\x00:\x00", "encoding", "NUL", 1, 2},
		"escape":      {"a: 1\r\nb: \x1b[0m", "encoding", "U+001B", 2, 4},
		"c1":          {"a: \u0090", "encoding", "U+0090", 1, 4},
		"too large":   {strings.Repeat("# comment\n", 200_000), "too_large", "1048576", 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := playbook.Parse("x.yaml", []byte(c.text))
			var problems record.Problems
			if !errors.As(err, &problems) || len(problems) != 1 {
				t.Fatalf("got %v", err)
			}
			p := problems[0]
			if p.Line != c.line || p.Column != c.column || p.Code != c.code || !strings.Contains(p.Message, c.message) {
				t.Errorf("got %+v", p)
			}
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	_, err := playbook.Parse("x.yaml", []byte(expand("STEP\n          args: ["+strings.Repeat("!x y, ", 20_000)+"z]\n")))
	var problems record.Problems
	if !errors.As(err, &problems) || len(problems) != 501 || !strings.Contains(problems[500].Message, "more problems") {
		t.Fatalf("got %d problems: %.300v", len(problems), err)
	}
}

func TestManyProblemsInsideOneLineCostWhatTheyAreReportedFor(t *testing.T) {
	text := expand("STEP\n          args: {q: [" + strings.Repeat(`"${params.nosuch}", `, 20_000) + "z]}\n")
	_, err := playbook.Parse("x.yaml", []byte(text))
	var problems record.Problems
	if !errors.As(err, &problems) || len(problems) != 501 {
		t.Fatalf("got %d problems", len(problems))
	}
	if p := problems[0]; p.Line != problems[1].Line || problems[1].Column-p.Column != len(`"${params.nosuch}", `) {
		t.Errorf("the first problems are at %d:%d and %d:%d", p.Line, p.Column, problems[1].Line, problems[1].Column)
	}
}

func TestSizesAreBounded(t *testing.T) {
	stage := "{name: NAME, steps: [{name: one, action: x}]}"
	var stages, steps, params []string
	for i := range 101 {
		name := "s" + strings.Repeat("x", i%50) + string(rune('a'+i/50))
		stages = append(stages, strings.Replace(stage, "NAME", name, 1))
		steps = append(steps, "{name: "+name+", action: x}")
		params = append(params, "{name: "+name+", type: int}")
	}
	head := "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: x}\nspec:\n  "
	for name, text := range map[string]string{
		"stages": head + "stages: [" + strings.Join(stages, ", ") + "]",
		"steps":  head + "stages: [{name: a, steps: [" + strings.Join(steps, ", ") + "]}]",
		"params": head + "stages: [" + stages[0] + "]\n  params: [" + strings.Join(params, ", ") + "]",
		"batch":  expand("STAGE\n      batch: [1" + strings.Repeat(", 1", 100) + "]"),
	} {
		_, err := playbook.Parse("x.yaml", []byte(text))
		var problems record.Problems
		if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Code != "too_large" || !strings.Contains(problems[0].Message, "at most 100") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/bad.txt", "testdata/full.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range strings.Split(string(data), "=== ") {
			_, body, _ := strings.Cut(c, "\n")
			text, _, _ := strings.Cut(body, "--- want\n")
			f.Add([]byte(expand(text)))
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		playbooks, err := playbook.Parse("fuzz.yaml", data)
		var problems record.Problems
		if err != nil {
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("the error has no problems: %v", err)
			}
			playbooks = nil // nothing else can be done with them
		}
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 || p.Code == "" || p.Message == "" {
				t.Fatalf("a problem without a place or a reason: %+v", p)
			}
		}
		for _, p := range playbooks {
			encoded, err := json.Marshal(p.Document)
			if err != nil {
				t.Fatal(err)
			}
			var document record.Document
			if err := json.Unmarshal(encoded, &document); err != nil {
				t.Fatal(err)
			}
			if _, err := playbook.Load(document); err != nil {
				t.Fatalf("parsed, but not loaded: %v\n%s", err, encoded)
			}
		}
	})
}
