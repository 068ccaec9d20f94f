package api_test

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/api"
	"github.com/replicante-io/playbooks/api/apitest"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

type items[T any] struct {
	Items      []T
	NextCursor string `json:"next_cursor"`
}

func applied(t *testing.T, a answer) api.Applied {
	t.Helper()
	list := into[items[api.Applied]](t, ok(t, a, 200))
	if len(list.Items) != 1 {
		t.Fatalf("%+v", list)
	}
	return list.Items[0]
}

func TestTheSameTextMakesNoNewRevision(t *testing.T) {
	_, h := leading(t)
	if first := applied(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook)); first != (api.Applied{Kind: "Playbook", Name: "restart", Revision: 1, Version: "1", Created: true}) {
		t.Fatalf("%+v", first)
	}
	if again := applied(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook+"# a comment\n")); again.Revision != 1 || again.Created {
		t.Fatalf("%+v", again)
	}
	next := strings.Replace(apitest.Playbook, `version: "1"`, `version: "2"`, 1)
	if other := applied(t, call(t, h, "POST", "/api/v1/apply", next)); other.Revision != 2 || !other.Created {
		t.Fatalf("%+v", other)
	}
	if back := applied(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook)); back.Revision != 3 || !back.Created {
		t.Fatalf("%+v", back)
	}
	revisions := into[items[record.Playbook]](t, ok(t, call(t, h, "GET", "/api/v1/playbooks/restart/revisions?limit=2", ""), 200))
	if len(revisions.Items) != 2 || revisions.Items[0].Revision != 3 || revisions.NextCursor == "" {
		t.Fatalf("%+v", revisions)
	}
	second := into[record.Playbook](t, ok(t, call(t, h, "GET", "/api/v1/playbooks/restart?revision=2", ""), 200))
	if second.Version != "2" || second.Spec["stages"] == nil {
		t.Fatalf("%+v", second)
	}
	rejected(t, call(t, h, "GET", "/api/v1/playbooks/restart?revision=9", ""), 404, "not_found", "revision 9")
	rejected(t, call(t, h, "GET", "/api/v1/playbooks/other", ""), 404, "not_found", "other")
	rejected(t, call(t, h, "GET", "/api/v1/playbooks/other/revisions", ""), 404, "not_found", "other")
}

func form(t *testing.T, files ...string) (string, string) {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i < len(files); i += 2 {
		part, err := w.CreateFormFile("file", files[i])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write([]byte(files[i+1]))
	}
	_ = w.Close()
	return body.String(), w.FormDataContentType()
}

func TestAllProblemsOfAllFilesAreReportedAndNothingIsStored(t *testing.T) {
	p, h := leading(t)
	bad := "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: bad}\nspec: {}\n"
	body, media := form(t, "dir/good.yaml", apitest.Playbook, "dir/bad.yaml", bad, "worse.yaml", bad)
	for _, path := range []string{"/api/v1/validate", "/api/v1/apply"} {
		f := rejected(t, call(t, h, "POST", path, body, "Content-Type", media), 422, "invalid_playbook")
		files := map[string]bool{}
		for _, problem := range f.Problems {
			files[problem.File] = true
			if problem.Line == 0 || problem.Message == "" || problem.Code == "" {
				t.Errorf("%+v", problem)
			}
		}
		if len(files) != 2 || !files["dir/bad.yaml"] || !files["worse.yaml"] {
			t.Fatalf("%+v", f.Problems)
		}
	}
	if _, err := p.Playbook(t.Context(), "restart", 0); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("it was stored: %v", err)
	}
	f := rejected(t, call(t, h, "POST", "/api/v1/apply?file=mine.yaml", bad), 422, "invalid_playbook")
	if f.Problems[0].File != "mine.yaml" {
		t.Fatalf("%+v", f.Problems)
	}
}

func TestANameThatIsSentTwiceIsAProblem(t *testing.T) {
	_, h := leading(t)
	body, media := form(t, "a.yaml", apitest.Playbook, "b.yaml", apitest.Playbook)
	f := rejected(t, call(t, h, "POST", "/api/v1/apply", body, "Content-Type", media), 422, "invalid_playbook")
	if len(f.Problems) != 1 || f.Problems[0].File != "b.yaml" || !strings.Contains(f.Problems[0].Message, "a.yaml") {
		t.Fatalf("%+v", f.Problems)
	}
}

func TestValidateNeedsNoLeaderAndWritesNothing(t *testing.T) {
	p := apitest.New(t)
	h := p.Replica("core-2")
	if valid := applied(t, call(t, h, "POST", "/api/v1/validate", apitest.Playbook)); valid.Name != "restart" || valid.Created {
		t.Fatalf("%+v", valid)
	}
	if _, err := p.Playbook(t.Context(), "restart", 0); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("it was stored: %v", err)
	}
}

func TestAnApplyIsRepeatedUnderItsKey(t *testing.T) {
	_, h := leading(t)
	first := ok(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook, "Idempotency-Key", "k1"), 200)
	again := ok(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook, "Idempotency-Key", "k1"), 200)
	if first.body != again.body || !applied(t, again).Created {
		t.Fatalf("%s is not %s", again.body, first.body)
	}
	rejected(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook+"#\n", "Idempotency-Key", "k1"), 409, "idempotency_key_reused")
	rejected(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook, "Idempotency-Key", "k\x01"), 400, "bad_idempotency_key")
}

func TestAnApplyInDoubtIsAnsweredUnderItsKey(t *testing.T) {
	p, h := leading(t)
	p.FailNext("Apply", true)
	rejected(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook, "Idempotency-Key", "k1"), 503, "store_unavailable")
	if again := applied(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook, "Idempotency-Key", "k1")); again.Revision != 1 || !again.Created {
		t.Fatalf("%+v", again)
	}
}

func TestAnApplyThatAnotherLeaderCarriedOutMeanwhileGetsItsAnswer(t *testing.T) {
	p, h := leading(t)
	earlier := p.Replica("core-1") // another process
	other := false
	p.Intercept(func(op string, do func() error) error {
		if op == "Apply" && !other {
			other = true
			ok(t, call(t, earlier, "POST", "/api/v1/apply", apitest.Playbook, "Idempotency-Key", "k1"), 200)
		}
		return do()
	})
	if late := applied(t, call(t, h, "POST", "/api/v1/apply", apitest.Playbook, "Idempotency-Key", "k1")); late.Revision != 1 || !late.Created {
		t.Fatalf("%+v", late)
	}
}

func TestAnEmptyTextIsRejected(t *testing.T) {
	_, h := leading(t)
	for _, text := range []string{"", "\n", "# nothing\n"} {
		if a := call(t, h, "POST", "/api/v1/apply", text); a.status != 400 && a.status != 422 {
			t.Errorf("%q: %d %s", text, a.status, a.body)
		}
	}
}

func TestPlaybooksArePaged(t *testing.T) {
	_, h := leading(t)
	var text strings.Builder
	for i := range 5 {
		text.WriteString("---\n" + strings.Replace(apitest.Playbook, "name: restart, v", fmt.Sprintf("name: p%d, v", i), 1))
	}
	ok(t, call(t, h, "POST", "/api/v1/apply", text.String()), 200)
	names, cursor := "", ""
	for range 3 {
		page := into[items[record.Playbook]](t, ok(t, call(t, h, "GET", "/api/v1/playbooks?limit=2&cursor="+cursor, ""), 200))
		for _, p := range page.Items {
			names += p.Name + " "
		}
		cursor = page.NextCursor
	}
	if names != "p0 p1 p2 p3 p4 " || cursor != "" {
		t.Fatalf("%q %q", names, cursor)
	}
	rejected(t, call(t, h, "GET", "/api/v1/playbooks?cursor=mine", ""), 400, "bad_cursor")
	rejected(t, call(t, h, "GET", "/api/v1/playbooks?limit=0", ""), 400, "bad_request", "query.limit")
	rejected(t, call(t, h, "GET", "/api/v1/playbooks?limit=1001", ""), 400, "bad_request", "query.limit")
}
