package storetest

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// readPage cuts a page out of items, which are ordered by key; a cursor holds the key of the last item before.
func readPage[T any](list string, items []T, page store.Page, key func(T) string) ([]T, string, error) {
	if page.Cursor != "" {
		text, err := base64.RawURLEncoding.DecodeString(page.Cursor)
		last, ok := strings.CutPrefix(string(text), list+"\x00")
		if err != nil || !ok {
			return nil, "", fmt.Errorf("cursor %q: %w", page.Cursor, store.ErrConflict)
		}
		items = slices.DeleteFunc(items, func(item T) bool { return key(item) <= last })
	}
	if page.Limit <= 0 || len(items) <= page.Limit {
		return items, "", nil
	}
	items = items[:page.Limit]
	return items, base64.RawURLEncoding.EncodeToString([]byte(list + "\x00" + key(items[page.Limit-1]))), nil
}

// descending turns a number into text that sorts the other way round.
func descending(n int64) string { return fmt.Sprintf("%020d", 1<<62-n) }

// inverse turns text into text that sorts the other way round.
func inverse(s string) string {
	bytes := []byte(s)
	for i := range bytes {
		bytes[i] = ^bytes[i]
	}
	return string(append(bytes, 0xff))
}

func older(a, b record.Run) int {
	return cmp.Or(a.CreatedTS.Compare(b.CreatedTS), cmp.Compare(a.ID, b.ID))
}

// OpenRuns lists the open runs in the order of store.CompareQueued.
func (m *Memory) OpenRuns(ctx context.Context) ([]record.Run, error) {
	var open []record.Run
	err := m.locked(ctx, func() error {
		for _, run := range m.runs {
			if run.run.Open() {
				open = append(open, head(run.run))
			}
		}
		slices.SortFunc(open, store.CompareQueued)
		return nil
	})
	return open, err
}

// Runs pages through runs, newest first.
func (m *Memory) Runs(ctx context.Context, filter store.RunFilter, page store.Page) ([]record.Run, string, error) {
	var found []record.Run
	var next string
	err := m.locked(ctx, func() (err error) {
		for _, kept := range m.runs {
			run := &kept.run
			if (filter.Cluster == "" || filter.Cluster == run.Cluster) &&
				(filter.Playbook == "" || filter.Playbook == run.Playbook.Name) &&
				(len(filter.States) == 0 || slices.Contains(filter.States, run.State)) {
				found = append(found, head(*run))
			}
		}
		slices.SortFunc(found, func(a, b record.Run) int { return older(b, a) })
		found, next, err = readPage("runs", found, page, func(run record.Run) string {
			return descending(run.CreatedTS.UnixMilli()) + inverse(run.ID)
		})
		return err
	})
	return found, next, err
}

// RunNodes pages through node records.
func (m *Memory) RunNodes(ctx context.Context, runID string, states []record.NodeState, page store.Page) ([]record.RunNode, string, error) {
	var found []record.RunNode
	var next string
	err := m.locked(ctx, func() error {
		run, err := m.find(runID)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(run.nodes)) {
			if node := run.nodes[name]; len(states) == 0 || slices.Contains(states, node.State) {
				found = append(found, clone(node))
			}
		}
		found, next, err = readPage("nodes of "+runID, found, page, func(node record.RunNode) string { return node.Node })
		return err
	})
	return found, next, err
}
