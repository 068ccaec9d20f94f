package agent_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/wire"
)

func meta(installation string, term int64, journal string) map[string]string {
	m := map[string]string{}
	if installation != "" {
		m[wire.MetaInstallation], m[wire.MetaTerm] = installation, fmt.Sprint(term)
	}
	if journal != "" {
		m[wire.MetaJournal] = journal
	}
	return m
}

func TestSendersThatALaterTermReplacedAreRejected(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, agent.Config{DataDir: dir})
	journal := s.agent.JournalID()
	steps := []struct {
		name   string
		meta   map[string]string
		reason string
		term   int64
	}{
		{"no fence", nil, "", 0},
		{"first term", meta("a", 5, journal), "", 0},
		{"same term", meta("a", 5, ""), "", 0},
		{"lower term", meta("a", 4, journal), wire.FencedTerm, 5},
		{"higher term", meta("a", 7, journal), "", 0},
		{"the term before", meta("a", 5, journal), wire.FencedTerm, 7},
		{"another installation counts for itself", meta("b", 1, journal), "", 0},
		{"another journal", meta("a", 7, "other"), wire.FencedJournal, 7},
		{"another journal without a term", meta("", 0, "other"), wire.FencedJournal, 0},
		{"higher term for another journal", meta("a", 8, "other"), wire.FencedJournal, 8},
		{"which counts", meta("a", 7, journal), wire.FencedTerm, 8},
		{"a term far above", meta("a", 8+agent.MaxTermJump+1, journal), wire.FencedTermJump, 8},
		{"the highest number", meta("a", 1<<53, journal), wire.FencedTermJump, 8},
		{"an unheard installation's term far above", meta("c", 1<<53, journal), wire.FencedTermJump, 0},
		{"which does not count", meta("a", 8, journal), "", 0},
		{"no fence again", nil, "", 0},
	}
	for _, step := range steps {
		id := uuid.NewString()
		check := func(verb string, err error) {
			t.Helper()
			var fenced *wire.Fenced
			switch {
			case step.reason == "":
				if err != nil {
					t.Errorf("%s, %s: %v", step.name, verb, err)
				}
			case !errors.As(err, &fenced) || fenced.Reason != step.reason || fenced.Term != step.term:
				t.Errorf("%s, %s: %+v, want %s and term %d", step.name, verb, err, step.reason, step.term)
			}
		}
		_, err := s.Cancel(t.Context(), s.url, uuid.NewString(), wire.CancelRequest{Metadata: step.meta})
		check("cancel", err)
		_, err = s.Post(t.Context(), s.url, request(id, wire.KindSuccess, "", step.meta), 0)
		check("post", err)
		if _, err := s.Get(t.Context(), s.url, id, 0); (err == nil) != (step.reason == "") {
			t.Errorf("%s: the action is known: %v", step.name, err == nil)
		}
	}

	if err := s.agent.Close(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, agent.Config{DataDir: dir})
	if s.agent.JournalID() != journal {
		t.Error("the journal has another ID after a restart")
	}
	var fenced *wire.Fenced
	_, err := s.Post(t.Context(), s.url, request(uuid.NewString(), wire.KindSuccess, "", meta("a", 7, journal)), 0)
	if !errors.As(err, &fenced) || fenced.Term != 8 {
		t.Errorf("a lower term after a restart: %v", err)
	}
}

func TestTheTermOfARejectedActionCounts(t *testing.T) {
	s := serve(t, agent.Config{})
	_, err := s.Post(t.Context(), s.url, request(uuid.NewString(), "unknown", "", meta("a", 9, "")), 0)
	if !errors.Is(err, wire.ErrRejected) {
		t.Fatal(err)
	}
	var fenced *wire.Fenced
	_, err = s.Post(t.Context(), s.url, request(uuid.NewString(), wire.KindSuccess, "", meta("a", 8, "")), 0)
	if !errors.As(err, &fenced) || fenced.Term != 9 {
		t.Errorf("a lower term: %v", err)
	}
}

func TestTheNumberOfInstallationsIsBounded(t *testing.T) {
	s := serve(t, agent.Config{})
	for n := range 64 {
		if _, err := s.Post(t.Context(), s.url, request(uuid.NewString(), wire.KindSuccess, "", meta(fmt.Sprint("i", n), 1, "")), 0); err != nil {
			t.Fatal(err)
		}
	}
	var fenced *wire.Fenced
	_, err := s.Post(t.Context(), s.url, request(uuid.NewString(), wire.KindSuccess, "", meta("one more", 1, "")), 0)
	if !errors.As(err, &fenced) || fenced.Reason != wire.FencedInstallation {
		t.Errorf("one installation more: %v", err)
	}
}

func TestAJournalIsUsedByOneAgentAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	serve(t, agent.Config{DataDir: dir})
	err := agent.New(agent.Config{NodeID: "n", ClusterID: "c", DataDir: dir}).Open(t.Context())
	if !errors.Is(err, agent.ErrJournalInUse) {
		t.Errorf("a second agent on one journal: %v", err)
	}
}
