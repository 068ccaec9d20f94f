package storetest

import (
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func revision(name, digest string) record.Playbook {
	return record.Playbook{Name: name, Digest: digest, Spec: record.Document{"of": digest}, CreatedTS: start}
}

func playbooks(revisions ...record.Playbook) record.Documents {
	return record.Documents{Playbooks: revisions}
}

// apply stores playbooks in the latest term.
func apply(tb testing.TB, s store.Store, revisions ...record.Playbook) []record.Playbook {
	tb.Helper()
	return applyDocuments(tb, s, playbooks(revisions...)).Playbooks
}

func applyDocuments(tb testing.TB, s store.Store, documents record.Documents) record.Documents {
	tb.Helper()
	latest, err := s.Term(tb.Context())
	must(tb, err)
	applied, err := s.Apply(tb.Context(), latest.Term, documents, nil, nil)
	must(tb, err)
	return applied
}

func applyNumbersRevisions(t *testing.T, backend Backend) {
	s := open(t, backend)
	for _, step := range []struct {
		digests map[string]string
		want    map[string]int64
	}{
		{map[string]string{"a": "1"}, map[string]int64{"a": 1}},
		{map[string]string{"a": "1"}, map[string]int64{"a": 1}},
		{map[string]string{"a": "2", "b": "1"}, map[string]int64{"a": 2, "b": 1}},
		{map[string]string{"a": "1", "b": "1"}, map[string]int64{"a": 3, "b": 1}},
		{map[string]string{"a": "1", "b": "3", "c": "1"}, map[string]int64{"a": 3, "b": 2, "c": 1}},
	} {
		var given []record.Playbook
		for name, digest := range step.digests {
			given = append(given, revision(name, digest))
		}
		for i, applied := range apply(t, s, given...) {
			want := given[i]
			want.Revision = step.want[want.Name]
			same(t, "applied", applied, want)
			for _, revision := range []int64{0, want.Revision} {
				got, err := s.Playbook(t.Context(), want.Name, revision)
				must(t, err)
				same(t, "playbook", got, want)
			}
		}
	}
	first, err := s.Playbook(t.Context(), "a", 2)
	must(t, err)
	same(t, "an earlier revision's digest", first.Digest, "2")
	_, err = s.Playbook(t.Context(), "a", 4)
	wantError(t, "a revision of the future", err, store.ErrNotFound)
}

func concurrentApplyMakesNoGaps(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	var group errgroup.Group
	for i := range 12 {
		group.Go(func() error {
			_, err := s.Apply(t.Context(), term, playbooks(revision("one", fmt.Sprint(i)), revision(fmt.Sprint("own-", i), "d")), nil, nil)
			return err
		})
	}
	must(t, group.Wait())
	revisions, _, err := s.Revisions(t.Context(), "one", store.Page{})
	must(t, err)
	digests := map[string]bool{}
	for i, revision := range revisions {
		if revision.Revision != int64(12-i) {
			t.Errorf("revision %d is at position %d", revision.Revision, i)
		}
		digests[revision.Digest] = true
	}
	if len(revisions) != 12 || len(digests) != 12 {
		t.Errorf("12 different playbooks made %d revisions of %d digests", len(revisions), len(digests))
	}
}

func applyIsAllOrNone(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	answer := func(applied record.Documents) string {
		return fmt.Sprint(namesOf(applied.Playbooks, func(p record.Playbook) string { return fmt.Sprint(p.Name, ":", p.Revision) }))
	}
	key := record.IdempotencyRecord{Key: "k", Digest: "d"}
	_, err := s.Apply(ctx, term, playbooks(revision("a", "1"), revision("b", "1")), &key, answer)
	must(t, err)
	recorded, err := s.IdempotencyRecord(ctx, "k", "d")
	must(t, err)
	same(t, "recorded key", recorded, record.IdempotencyRecord{Key: "k", Digest: "d", Answer: "[a:1 b:1]"})
	_, err = s.Apply(ctx, term, playbooks(revision("a", "2"), revision("c", "1")), &key, answer)
	wantError(t, "apply under a used key", err, store.ErrExists)
	latest, err := s.Playbook(ctx, "a", 0)
	must(t, err)
	same(t, "latest revision", latest.Revision, int64(1))
	_, err = s.Playbook(ctx, "c", 0)
	wantError(t, "playbook", err, store.ErrNotFound)
}
