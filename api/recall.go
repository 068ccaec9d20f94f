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

// recallAfter is how long the leader waits for the store before it answers from memory; once the store is known to be
// away it does so at once.
const recallAfter = 3 * time.Second

// unanswered tells whether err means that the store did not answer.
func unanswered(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// storeWaits is what waits for the store while that is known not to answer; else "".
func (s *server) storeWaits() string {
	if s.StoreWaits == nil {
		return ""
	}
	return s.StoreWaits()
}

// recalling asks the store, but not for long where this replica can answer from memory too, and not at all while the store
// is known to be away. recalled is true when the answer has to come from memory.
func (s *server) recalling(ctx context.Context, known, waits bool, ask func(ctx context.Context) error) (recalled bool, err error) {
	if !known {
		return false, ask(ctx)
	}
	if waits {
		return true, nil
	}
	asking, cancel := context.WithTimeout(ctx, recallAfter)
	defer cancel()
	if err = ask(asking); unanswered(err) && ctx.Err() == nil {
		return true, nil
	}
	return false, err
}

// recall is a run that this replica goes on with, and its owner, nil where there is none. While the store does not
// answer its Waiting says so.
func (s *server) recall(id string) (run record.Run, waits bool, owner Owner) {
	if owner = s.Owner(); owner == nil {
		return record.Run{}, false, nil
	}
	run, waits, known := owner.CommittedRun(id)
	if !known {
		return record.Run{}, false, nil
	}
	if !waits && run.FinishTS == nil {
		run.Waiting = &record.Wait{For: record.WaitStore, Since: record.Now()} // nothing more is known yet
	}
	return run, waits, owner
}

func (s *server) recalledRun(ctx context.Context, id string) (run record.Run, err error) {
	memory, waits, owner := s.recall(id)
	recalled, err := s.recalling(ctx, owner != nil, waits, func(ctx context.Context) (err error) {
		run, err = s.Store.Run(ctx, id)
		return err
	})
	if recalled {
		return memory, nil
	}
	return run, err
}

// memoryCursor begins the cursors of pages from memory: no store's cursor has a colon.
const memoryCursor = "memory:"

func (s *server) recalledNodes(ctx context.Context, id string, states []record.NodeState, page store.Page) (items []record.RunNode, next string, err error) {
	_, waits, owner := s.recall(id)
	after, fromMemory := strings.CutPrefix(page.Cursor, memoryCursor)
	known := owner != nil && (fromMemory || page.Cursor == "") // what the store began, it alone goes on with
	if fromMemory && !known {
		return nil, "", fail(http.StatusServiceUnavailable, "store_unavailable",
			"this list was begun by a leader that does not lead any more: read it from its beginning")
	}
	recalled, err := s.recalling(ctx, known, waits || fromMemory, func(ctx context.Context) (err error) {
		items, next, err = s.Store.RunNodes(ctx, id, states, page)
		return err
	})
	if !recalled {
		return items, next, err
	}
	nodes, there := owner.CommittedNodes(id)
	if !there {
		return nil, "", fmt.Errorf("list the nodes of run %s: %w", id, store.ErrUnavailable)
	}
	items = nil
	for _, n := range nodes {
		switch {
		case fromMemory && n.Node <= after, len(states) > 0 && !slices.Contains(states, n.State):
		case len(items) == page.Limit:
			return items, memoryCursor + items[len(items)-1].Node, nil
		default:
			items = append(items, n)
		}
	}
	return items, "", nil
}

func (s *server) recalledNode(ctx context.Context, id, name string) (node record.RunNode, err error) {
	_, waits, owner := s.recall(id)
	recalled, err := s.recalling(ctx, owner != nil, waits, func(ctx context.Context) (err error) {
		node, err = s.Store.RunNode(ctx, id, name)
		return err
	})
	if !recalled {
		return node, err
	}
	nodes, there := owner.CommittedNodes(id)
	if !there {
		return node, fmt.Errorf("read the record of node %s: %w", name, store.ErrUnavailable)
	}
	at, found := slices.BinarySearchFunc(nodes, name, func(n record.RunNode, name string) int { return cmp.Compare(n.Node, name) })
	if !found {
		return node, store.ErrNotFound
	}
	return nodes[at], nil
}

// recalledRuns is a page of runs, or, from memory, the unfinished runs that are asked for, with Partial.
func (s *server) recalledRuns(ctx context.Context, filter store.RunFilter, page store.Page) (*listOutput[record.Run], error) {
	var items []record.Run
	var next string
	owner := s.Owner()
	recalled, err := s.recalling(ctx, owner != nil && page.Cursor == "", s.storeWaits() != "", func(ctx context.Context) (err error) {
		items, next, err = s.Store.Runs(ctx, filter, page)
		return err
	})
	if !recalled {
		return list(withTexts(items, runWithTexts), next, err)
	}
	items = slices.DeleteFunc(owner.CommittedRuns(), func(run record.Run) bool {
		return filter.Cluster != "" && run.Cluster != filter.Cluster || filter.Playbook != "" && run.Playbook.Name != filter.Playbook ||
			len(filter.States) > 0 && !slices.Contains(filter.States, run.State)
	})
	output, err := list(withTexts(items[:min(len(items), page.Limit)], runWithTexts), "", nil)
	if err == nil {
		output.Body.Partial = true
	}
	return output, err
}
