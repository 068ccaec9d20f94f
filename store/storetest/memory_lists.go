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

// part cuts a page out of items, which are ordered by key; a cursor holds the key of the last item before.
func part[T any](list string, items []T, page store.Page, key func(T) string) ([]T, string, error) {
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

// OpenRuns lists the open runs, first in line first.
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
		found, next, err = part("runs", found, page, func(run record.Run) string {
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
		found, next, err = part("nodes of "+runID, found, page, func(node record.RunNode) string { return node.Node })
		return err
	})
	return found, next, err
}

// Apply stores new revisions.
func (m *Memory) Apply(ctx context.Context, playbooks []record.Playbook, effect *record.IdempotencyRecord, answer func([]record.Playbook) string) ([]record.Playbook, error) {
	playbooks = clone(playbooks)
	var applied []record.Playbook
	err := m.write(ctx, "Apply", func() error {
		if effect != nil {
			if err := m.free([]record.IdempotencyRecord{*effect}); err != nil {
				return err
			}
		}
		applied = nil
		for _, playbook := range playbooks {
			was := m.playbooks[playbook.Name]
			if len(was) > 0 && was[len(was)-1].Digest == playbook.Digest {
				applied = append(applied, clone(was[len(was)-1]))
				continue
			}
			playbook.Revision = int64(len(was)) + 1
			m.playbooks[playbook.Name] = append(was, playbook)
			applied = append(applied, clone(playbook))
		}
		if effect != nil {
			kept := *effect
			if answer != nil {
				kept.Answer = answer(clone(applied))
			}
			m.keep([]record.IdempotencyRecord{kept})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return applied, nil
}

// Playbook reads a revision.
func (m *Memory) Playbook(ctx context.Context, name string, revision int64) (record.Playbook, error) {
	var found record.Playbook
	err := m.locked(ctx, func() error {
		revisions := m.playbooks[name]
		if revision == 0 {
			revision = int64(len(revisions))
		}
		if revision < 1 || revision > int64(len(revisions)) {
			return fmt.Errorf("playbook %s, revision %d: %w", name, revision, store.ErrNotFound)
		}
		found = clone(revisions[revision-1])
		return nil
	})
	return found, err
}

// Playbooks pages through the latest revisions.
func (m *Memory) Playbooks(ctx context.Context, page store.Page) ([]record.Playbook, string, error) {
	var found []record.Playbook
	var next string
	err := m.locked(ctx, func() (err error) {
		for _, name := range slices.Sorted(maps.Keys(m.playbooks)) {
			revisions := m.playbooks[name]
			found = append(found, clone(revisions[len(revisions)-1]))
		}
		found, next, err = part("playbooks", found, page, func(playbook record.Playbook) string { return playbook.Name })
		return err
	})
	return found, next, err
}

// Revisions pages through the revisions of a name.
func (m *Memory) Revisions(ctx context.Context, name string, page store.Page) ([]record.Playbook, string, error) {
	var found []record.Playbook
	var next string
	err := m.locked(ctx, func() (err error) {
		found = clone(m.playbooks[name])
		if len(found) == 0 {
			return fmt.Errorf("playbook %s: %w", name, store.ErrNotFound)
		}
		slices.Reverse(found)
		found, next, err = part("revisions of "+name, found, page, func(playbook record.Playbook) string { return descending(playbook.Revision) })
		return err
	})
	return found, next, err
}

// SaveNodes inserts or replaces known nodes.
func (m *Memory) SaveNodes(ctx context.Context, term int64, nodes []record.Node) error {
	nodes = clone(nodes)
	return m.write(ctx, "SaveNodes", func() error {
		if err := m.fence(term); err != nil {
			return err
		}
		for _, node := range nodes {
			m.known[node.Key()] = node
		}
		return nil
	})
}

// ForgetNode removes a known node.
func (m *Memory) ForgetNode(ctx context.Context, term int64, key record.NodeKey, effect *record.IdempotencyRecord) error {
	return m.write(ctx, "ForgetNode", func() error {
		if err := m.fence(term); err != nil {
			return err
		}
		if effect != nil {
			if err := m.free([]record.IdempotencyRecord{*effect}); err != nil {
				return err
			}
		}
		if _, ok := m.known[key]; !ok {
			return fmt.Errorf("node %s of cluster %s: %w", key.Node, key.Cluster, store.ErrNotFound)
		}
		delete(m.known, key)
		if effect != nil {
			m.keep([]record.IdempotencyRecord{*effect})
		}
		return nil
	})
}

// Node reads a known node.
func (m *Memory) Node(ctx context.Context, key record.NodeKey) (record.Node, error) {
	var found record.Node
	err := m.locked(ctx, func() error {
		node, ok := m.known[key]
		if !ok {
			return fmt.Errorf("node %s of cluster %s: %w", key.Node, key.Cluster, store.ErrNotFound)
		}
		found = clone(node)
		return nil
	})
	return found, err
}

// Nodes pages through known nodes.
func (m *Memory) Nodes(ctx context.Context, cluster string, page store.Page) ([]record.Node, string, error) {
	var found []record.Node
	var next string
	err := m.locked(ctx, func() (err error) {
		for key, node := range m.known {
			if cluster == "" || cluster == key.Cluster {
				found = append(found, clone(node))
			}
		}
		slices.SortFunc(found, func(a, b record.Node) int {
			return cmp.Or(cmp.Compare(a.ClusterID, b.ClusterID), cmp.Compare(a.NodeID, b.NodeID))
		})
		found, next, err = part("known nodes of "+cluster, found, page, func(node record.Node) string {
			return node.ClusterID + "\x00" + node.NodeID
		})
		return err
	})
	return found, next, err
}

// Clusters counts known nodes by cluster.
func (m *Memory) Clusters(ctx context.Context) ([]store.Cluster, error) {
	var clusters []store.Cluster
	err := m.locked(ctx, func() error {
		counts := map[string]*store.Cluster{}
		for key, node := range m.known {
			if counts[key.Cluster] == nil {
				counts[key.Cluster] = &store.Cluster{ClusterID: key.Cluster}
			}
			counts[key.Cluster].Nodes++
			if node.Present {
				counts[key.Cluster].Present++
			}
		}
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			clusters = append(clusters, *counts[name])
		}
		return nil
	})
	return clusters, err
}
