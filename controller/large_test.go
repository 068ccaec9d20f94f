package controller_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/sqlite"
)

// weighed is a store that keeps how large the largest commit was, in bytes of node records.
type weighed struct {
	store.Store
	largest atomic.Int64
}

func (w *weighed) Commit(ctx context.Context, term int64, commit record.Commit) error {
	raw, err := json.Marshal(commit.Nodes)
	if err != nil {
		return err
	}
	if size := int64(len(raw)); size > w.largest.Load() {
		w.largest.Store(size)
	}
	return w.Store.Commit(ctx, term, commit)
}

// largeArguments runs one batch of nodes with 900 KB of arguments each to its end.
func largeArguments(t *testing.T, primary store.Store, nodes int) {
	w := &weighed{Store: primary}
	h := newInstallationOn(t, w, nodes, `  params: [{name: text, type: string}]
  stages:
    - name: s
      batch: "100%"
      health: {timeout: 1m, interval: 1s}
      steps: [{name: a, action: x/a, args: {text: "${params.text}"}}]
`)
	h.lead()
	defer h.kill()
	run := h.start(record.Request{}, record.RunRequest{Params: record.Document{"text": strings.Repeat("x", 900_000)}})
	h.await(run.ID, record.RunDone)
	h.onceEach()
	if byID, _ := h.fleet.starts(); len(byID) != nodes {
		t.Errorf("%d actions of %d nodes", len(byID), nodes)
	}
	if largest, most := w.largest.Load(), int64(policy.CommitBytes+2*record.MaxRecord); largest > most {
		t.Errorf("the largest commit has %d bytes, want at most %d", largest, most)
	}
}

func TestNodesWithLargeArgumentsAreCommittedInParts(t *testing.T) {
	s, err := sqlite.Open(t.Context(), sqlite.Config{Config: store.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "core.db")}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	largeArguments(t, s, 12) // more than one commit may hold
}
