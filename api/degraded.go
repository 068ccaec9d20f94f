package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// While the primary store does not answer, the leader answers reads about its unfinished runs from memory: as the last commit
// left them.

// degradedAfter is how long the leader waits for the store before it answers a read from memory. Where the store is known to
// be unavailable, the leader does not ask it.
const degradedAfter = 3 * time.Second

// storeFailed reports whether err means that the store did not answer.
func storeFailed(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// storeWait is a wait for the store while that is known to be unavailable; else nil.
func (s *server) storeWait() *record.Wait {
	if s.StoreUnavailable == nil {
		return nil
	}
	since, reason := s.StoreUnavailable()
	if since.IsZero() {
		return nil
	}
	wait := &record.Wait{For: record.WaitStore, Since: since}
	if reason != nil {
		wait.Data = record.Document{"error": reason.Error()}
	}
	return wait
}

// committed is an unfinished run of this replica in memory.
type committed struct {
	controller
	run     record.Run
	delayed bool // it is known that the store does not accept its commits
}

// committedRun is nil where this replica has no such run.
func (s *server) committedRun(id string) *committed {
	c := s.controller()
	if c == nil {
		return nil
	}
	run, delayed, found := c.CommittedRun(id)
	if !found {
		return nil
	}
	if !delayed && !run.State.Final() {
		if run.Waiting = s.storeWait(); run.Waiting == nil {
			run.Waiting = &record.Wait{For: record.WaitStore, Since: record.Now()}
		}
	}
	return &committed{controller: c, run: run, delayed: delayed}
}

// read calls fromStore. It returns true where the answer has to come from memory instead, which inMemory says is possible:
// when the store does not answer soon, or, without asking it, when it is known to be unavailable.
func (s *server) read(ctx context.Context, inMemory, unavailable bool, fromStore func(ctx context.Context) error) (degraded bool, err error) {
	if !inMemory {
		return false, fromStore(ctx)
	}
	if unavailable {
		return true, nil
	}
	asking, cancel := context.WithTimeout(ctx, degradedAfter)
	defer cancel()
	if err = fromStore(asking); storeFailed(err) && ctx.Err() == nil {
		return true, nil
	}
	return false, err
}

func (s *server) readRun(ctx context.Context, id string) (run record.Run, err error) {
	memory := s.committedRun(id)
	degraded, err := s.read(ctx, memory != nil, memory != nil && memory.delayed, func(ctx context.Context) (err error) {
		run, err = s.Store.Run(ctx, id)
		return err
	})
	if degraded {
		return memory.run, nil
	}
	return run, err
}

// memoryCursor begins the cursors of pages from memory: no store's cursor has a colon.
const memoryCursor = "memory:"

// readNodes reads a page of a run's node records. A list that was begun from memory is continued from memory, and one that
// was begun from the store, from the store.
func (s *server) readNodes(ctx context.Context, id string, states []record.NodeState, page store.Page) (items []record.RunNode, next string, err error) {
	memory := s.committedRun(id)
	after, continued := strings.CutPrefix(page.Cursor, memoryCursor)
	if continued && memory == nil {
		return nil, "", fail(http.StatusServiceUnavailable, "store_unavailable",
			"this list was begun by a leader that no longer leads: read it again from its beginning")
	}
	inMemory := memory != nil && (continued || page.Cursor == "")
	degraded, err := s.read(ctx, inMemory, inMemory && (memory.delayed || continued), func(ctx context.Context) (err error) {
		items, next, err = readPage(page, func(page store.Page) ([]record.RunNode, string, error) {
			return s.Store.RunNodes(ctx, id, states, page)
		})
		return err
	})
	if !degraded {
		return items, next, err
	}
	nodes, found := memory.CommittedNodes(id)
	if !found {
		return nil, "", fmt.Errorf("list the nodes of run %s: %w", id, store.ErrUnavailable)
	}
	items = nil
	for _, n := range nodes {
		switch {
		case continued && n.Node <= after, len(states) > 0 && !slices.Contains(states, n.State):
		case len(items) == page.Limit:
			return items, memoryCursor + items[len(items)-1].Node, nil
		default:
			items = append(items, n)
		}
	}
	return items, "", nil
}

func (s *server) readNode(ctx context.Context, id, name string) (node record.RunNode, err error) {
	memory := s.committedRun(id)
	degraded, err := s.read(ctx, memory != nil, memory != nil && memory.delayed, func(ctx context.Context) (err error) {
		node, err = s.Store.RunNode(ctx, id, name)
		return err
	})
	if !degraded {
		return node, err
	}
	nodes, found := memory.CommittedNodes(id)
	if !found {
		return node, fmt.Errorf("read the record of node %s: %w", name, store.ErrUnavailable)
	}
	at, found := slices.BinarySearchFunc(nodes, name, func(n record.RunNode, name string) int { return cmp.Compare(n.Node, name) })
	if !found {
		return node, store.ErrNotFound
	}
	return nodes[at], nil
}

// readRuns reads a page of runs. From memory it is of unfinished runs only, and says so in Partial.
func (s *server) readRuns(ctx context.Context, filter store.RunFilter, page store.Page) (*listOutput[record.Run], error) {
	var items []record.Run
	var next string
	c := s.controller()
	degraded, err := s.read(ctx, c != nil && page.Cursor == "", s.storeWait() != nil, func(ctx context.Context) (err error) {
		items, next, err = readPage(page, func(page store.Page) ([]record.Run, string, error) {
			return s.Store.Runs(ctx, filter, page)
		})
		return err
	})
	if !degraded {
		return list(withTexts(items, runWithTexts), next, err)
	}
	items = slices.DeleteFunc(c.CommittedRuns(), func(run record.Run) bool {
		return filter.Cluster != "" && run.Cluster != filter.Cluster || filter.Playbook != "" && run.Playbook.Name != filter.Playbook ||
			len(filter.States) > 0 && !slices.Contains(filter.States, run.State)
	})
	output, err := list(withTexts(items[:min(len(items), page.Limit)], runWithTexts), "", nil)
	if err == nil {
		output.Body.Partial = true
	}
	return output, err
}
