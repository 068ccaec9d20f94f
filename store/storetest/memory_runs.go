package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// find returns the run as it is kept.
func (m *Memory) find(runID string) (*memoryRun, error) {
	run, ok := m.runs[runID]
	if !ok {
		return nil, fmt.Errorf("run %s: %w", runID, store.ErrNotFound)
	}
	return run, nil
}

// Create stores a new run.
func (m *Memory) Create(ctx context.Context, term int64, create record.Commit) error {
	create = clone(create)
	return m.write(ctx, "Create", func() error {
		if err := m.fence(term); err != nil {
			return err
		}
		if _, exists := m.runs[create.Run.ID]; exists {
			return fmt.Errorf("run %s: %w", create.Run.ID, store.ErrExists)
		}
		if err := m.checkKeys(create.Idempotency); err != nil {
			return err
		}
		run := &memoryRun{run: create.Run, nodes: map[string]record.RunNode{}, changed: make(chan struct{})}
		m.runs[create.Run.ID] = run
		m.apply(run, term, create)
		return nil
	})
}

// Commit applies commit to its run.
func (m *Memory) Commit(ctx context.Context, term int64, commit record.Commit) error {
	commit = clone(commit)
	return m.write(ctx, "Commit", func() error {
		run, err := m.find(commit.Run.ID)
		if err != nil {
			return err
		}
		stored := run.run
		switch {
		case stored.Term > term:
			return staleTerm(stored, term)
		case stored.CommitID == commit.ID:
			return nil
		}
		if commit.Fence {
			if err := m.fence(term); err != nil {
				return err
			}
		}
		if stored.Term != term || stored.Rev != commit.Run.Rev-1 || stored.CommitID != commit.After {
			return fmt.Errorf("run %s is at revision %d of term %d after %q: %w", stored.ID, stored.Rev, stored.Term, stored.CommitID, store.ErrConflict)
		}
		if err := m.checkKeys(commit.Idempotency); err != nil {
			return err
		}
		if stored.FinishTS != nil && commit.Run.FinishTS == nil {
			m.removeStamps(run)
		}
		next := commit.Run
		store.KeepImmutable(&next, &stored)
		run.run = next
		m.apply(run, term, commit)
		return nil
	})
}

// apply stores what the commit has beside the run.
func (m *Memory) apply(run *memoryRun, term int64, commit record.Commit) {
	run.run.CommitID, run.run.Term, run.run.Stamped = commit.ID, term, false
	for _, node := range commit.Nodes {
		run.nodes[node.Node] = node
	}
	if len(commit.Events) > 0 {
		run.events = append(run.events, commit.Events...)
		close(run.changed)
		run.changed = make(chan struct{})
	}
	m.putKeys(commit.Idempotency)
}

// Claim takes a run for term.
func (m *Memory) Claim(ctx context.Context, term int64, runID string) (record.Run, []record.RunNode, error) {
	var claimed record.Run
	var nodes []record.RunNode
	err := m.write(ctx, "Claim", func() error {
		run, err := m.find(runID)
		if err != nil {
			return err
		}
		if run.run.Term > term {
			return staleTerm(run.run, term)
		}
		run.run.Term = term
		run.run.Rev++
		claimed = clone(run.run)
		nodes = make([]record.RunNode, 0, len(run.nodes))
		for _, name := range slices.Sorted(maps.Keys(run.nodes)) {
			nodes = append(nodes, clone(run.nodes[name]))
		}
		return nil
	})
	return claimed, nodes, err
}

// SetWaiting records what a run waits for.
func (m *Memory) SetWaiting(ctx context.Context, term int64, runID string, wait record.Wait) error {
	wait = clone(wait)
	return m.write(ctx, "SetWaiting", func() error {
		run, err := m.find(runID)
		switch {
		case err != nil:
			return err
		case run.run.Term > term:
			return staleTerm(run.run, term)
		}
		run.run.Waiting = &wait
		return nil
	})
}

// StampFinished stamps everything of a finished run.
func (m *Memory) StampFinished(ctx context.Context, term int64, runID string) error {
	return m.write(ctx, "StampFinished", func() error {
		run, err := m.find(runID)
		switch {
		case err != nil:
			return err
		case run.run.Term > term:
			return staleTerm(run.run, term)
		case run.run.FinishTS == nil:
			return fmt.Errorf("run %s is not finished: %w", runID, store.ErrConflict)
		}
		finish := *run.run.FinishTS
		for name, node := range run.nodes {
			if node.FinishTS == nil {
				node.FinishTS = &finish
				run.nodes[name] = node
			}
		}
		for i := range run.events {
			if run.events[i].FinishTS == nil {
				run.events[i].FinishTS = &finish
			}
		}
		for key, kept := range m.keys {
			if kept.RunID == runID && kept.finishTS == nil {
				kept.finishTS = &finish
				m.keys[key] = kept
			}
		}
		run.run.Stamped = true
		return nil
	})
}

// removeStamps takes back what StampFinished stamped.
func (m *Memory) removeStamps(run *memoryRun) {
	for name, node := range run.nodes {
		node.FinishTS = nil
		run.nodes[name] = node
	}
	for i := range run.events {
		run.events[i].FinishTS = nil
	}
	for key, kept := range m.keys {
		if kept.RunID == run.run.ID {
			kept.finishTS = nil
			m.keys[key] = kept
		}
	}
}

// Run reads a run.
func (m *Memory) Run(ctx context.Context, runID string) (record.Run, error) {
	var found record.Run
	err := m.locked(ctx, func() error {
		run, err := m.find(runID)
		if err == nil {
			found = clone(run.run)
		}
		return err
	})
	return found, err
}

// head copies a run without its playbook's text.
func head(run record.Run) record.Run {
	run.Playbook.Spec = record.Document(nil)
	return clone(run)
}

// RunNode reads one node record.
func (m *Memory) RunNode(ctx context.Context, runID, node string) (record.RunNode, error) {
	var found record.RunNode
	err := m.locked(ctx, func() error {
		run, err := m.find(runID)
		if err != nil {
			return err
		}
		kept, ok := run.nodes[node]
		if !ok {
			return fmt.Errorf("node %s of run %s: %w", node, runID, store.ErrNotFound)
		}
		found = clone(kept)
		return nil
	})
	return found, err
}

// Events reads events of a run.
func (m *Memory) Events(ctx context.Context, runID string, after int64, limit int) ([]record.Event, error) {
	var found []record.Event
	err := m.locked(ctx, func() error {
		run, err := m.find(runID)
		if err == nil {
			found = run.eventsAfter(after, limit)
		}
		return err
	})
	return found, err
}

func (r *memoryRun) eventsAfter(seq int64, limit int) []record.Event {
	first, _ := slices.BinarySearchFunc(r.events, seq+1, func(event record.Event, seq int64) int {
		return int(event.Seq - seq)
	})
	events := r.events[first:]
	if limit > 0 && len(events) > limit {
		events = events[:limit]
	}
	return clone(events)
}

// Follow delivers a run's events as they are committed.
func (m *Memory) Follow(ctx context.Context, runID string, after int64, deliver func([]record.Event) error) error {
	if ctx.Err() != nil {
		return nil
	}
	m.mu.Lock()
	m.expire()
	run, err := m.find(runID)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	for {
		m.mu.Lock()
		events, changed := run.eventsAfter(after, 0), run.changed
		m.mu.Unlock()
		if ctx.Err() != nil {
			return nil
		}
		if len(events) > 0 {
			if err := deliver(events); err != nil {
				return err
			}
			after = events[len(events)-1].Seq
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// Delete removes a run and all its records, as somebody may do with the tools of a database.
func (m *Memory) Delete(runID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, runID)
}

func staleTerm(run record.Run, term int64) error {
	return fmt.Errorf("term %d has claimed run %s, this is term %d: %w", run.Term, run.ID, term, store.ErrStaleTerm)
}
