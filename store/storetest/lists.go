package storetest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func runsArePaged(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	const n = 23
	var runs []record.Run
	for i := range n {
		commit := newRun(term, 0)
		commit.Run.Cluster = fmt.Sprint("cluster-", i%2)
		commit.Run.Playbook.Name = fmt.Sprint("playbook-", i%3)
		commit.Run.State = []record.RunState{record.RunPending, record.RunRunning, record.RunPaused}[i%3]
		commit.Run.CreatedTS = start.Add(time.Duration(i/2) * 100 * time.Millisecond) // pairs of one moment
		must(t, s.Create(t.Context(), term, commit))
		runs = append(runs, commit.Run)
	}
	slices.SortFunc(runs, func(a, b record.Run) int { return older(b, a) })
	for what, filter := range map[string]store.RunFilter{
		"all":             {},
		"of a cluster":    {Cluster: "cluster-1"},
		"of a playbook":   {Playbook: "playbook-2"},
		"in a state":      {States: []record.RunState{record.RunPaused}},
		"in two states":   {States: []record.RunState{record.RunPaused, record.RunPending}},
		"of everything":   {Cluster: "cluster-0", Playbook: "playbook-0", States: []record.RunState{record.RunPending}},
		"of no such name": {Cluster: "cluster"},
	} {
		var want []string
		for _, run := range runs {
			if (filter.Cluster == "" || filter.Cluster == run.Cluster) && (filter.Playbook == "" || filter.Playbook == run.Playbook.Name) &&
				(filter.States == nil || slices.Contains(filter.States, run.State)) {
				want = append(want, run.ID)
			}
		}
		for _, limit := range []int{0, 1, 5, n, n + 1} {
			found := allPages(t, limit, func(page store.Page) ([]record.Run, string, error) { return s.Runs(t.Context(), filter, page) })
			same(t, fmt.Sprintf("runs %s in pages of %d", what, limit), namesOf(found, func(run record.Run) string { return run.ID }), want)
		}
	}
}

// runsAreOrdered creates runs with every order of created_ts and queued_ts, two of each, and then queues some of them again.
func runsAreOrdered(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	created, queued := map[string]int{}, map[string]int{}
	runs := map[string]record.Run{}
	for i := range 3 {
		for j := range 4 {
			for range 2 {
				commit := newRun(term, 0)
				commit.Run.CreatedTS = *startPlus(time.Duration(i) * time.Second)
				created[commit.Run.ID], queued[commit.Run.ID] = i, i
				if j < 3 {
					commit.Run.QueuedTS = startPlus(time.Duration(j) * time.Second)
					queued[commit.Run.ID] = j
				}
				must(t, s.Create(ctx, term, commit))
				runs[commit.Run.ID] = commit.Run
			}
		}
	}
	check := func(what string) {
		t.Helper()
		id := func(run record.Run) string { return run.ID }
		// With one digit of seconds before the id, texts are in the order of both.
		order := func(seconds map[string]int) []string {
			var keys []string
			for id, n := range seconds {
				keys = append(keys, fmt.Sprint(n, id))
			}
			slices.Sort(keys)
			for i, key := range keys {
				keys[i] = key[1:]
			}
			return keys
		}
		open, err := s.OpenRuns(ctx)
		must(t, err)
		same(t, "open runs "+what, namesOf(open, id), order(queued))
		newest := order(created)
		slices.Reverse(newest)
		found := allPages(t, 5, func(page store.Page) ([]record.Run, string, error) { return s.Runs(ctx, store.RunFilter{}, page) })
		same(t, "newest runs "+what, namesOf(found, id), newest)
	}
	check("as they were created")
	for n, id := range slices.Sorted(maps.Keys(runs)) {
		if n%3 == 0 {
			commit := nextCommit(runs[id])
			commit.Run.CreatedTS = *startPlus(9 * time.Second) // which no commit changes
			commit.Run.QueuedTS = startPlus(time.Duration(n%5) * time.Second)
			queued[id] = n % 5
			must(t, s.Commit(ctx, term, commit))
		}
	}
	check("of which some were queued again")
}

func runNodesArePaged(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	commit := newRun(term, 23)
	states := []record.NodeState{record.NodePending, record.NodeRunning, record.NodeDone}
	for i := range commit.Nodes {
		commit.Nodes[i].State = states[i%3]
	}
	must(t, s.Create(t.Context(), term, commit))
	create(t, s, term, 5) // another run's nodes
	for _, filter := range [][]record.NodeState{nil, {record.NodeDone}, {record.NodeDone, record.NodePending}, {record.NodeFailed}} {
		var want []string
		for _, node := range commit.Nodes {
			if filter == nil || slices.Contains(filter, node.State) {
				want = append(want, node.Node)
			}
		}
		for _, limit := range []int{0, 1, 5, 23, 24} {
			found := allPages(t, limit, func(page store.Page) ([]record.RunNode, string, error) {
				return s.RunNodes(t.Context(), commit.Run.ID, filter, page)
			})
			same(t, fmt.Sprintf("nodes %v in pages of %d", filter, limit), namesOf(found, func(node record.RunNode) string { return node.Node }), want)
		}
	}
}

func playbooksArePaged(t *testing.T, backend Backend) {
	s := open(t, backend)
	var wantNames, wantRevisions []string
	for i := range 7 {
		name := fmt.Sprint("playbook-", i)
		wantNames = append(wantNames, name+":2")
		apply(t, s, revision(name, "1"))
		apply(t, s, revision(name, "2"))
	}
	for i := range 12 {
		apply(t, s, revision("many", fmt.Sprint(i)))
		wantRevisions = append(wantRevisions, fmt.Sprint("many:", 12-i))
	}
	wantNames = append([]string{"many:12"}, wantNames...)
	name := func(p record.Playbook) string { return fmt.Sprint(p.Name, ":", p.Revision) }
	for _, limit := range []int{0, 1, 3, 8} {
		found := allPages(t, limit, func(page store.Page) ([]record.Playbook, string, error) { return s.Playbooks(t.Context(), page) })
		same(t, "playbooks", namesOf(found, name), wantNames)
		found = allPages(t, limit, func(page store.Page) ([]record.Playbook, string, error) {
			return s.Revisions(t.Context(), "many", page)
		})
		same(t, "revisions", namesOf(found, name), wantRevisions)
	}
}

func pagesAreStable(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	newAt := func(i int) string {
		commit := newRun(term, 0)
		commit.Run.CreatedTS = start.Add(time.Duration(i) * time.Second)
		must(t, s.Create(t.Context(), term, commit))
		return commit.Run.ID
	}
	var want []string
	for i := range 9 {
		want = append([]string{newAt(i)}, want...)
	}
	i := 9
	found := allPages(t, 2, func(page store.Page) ([]record.Run, string, error) {
		runs, next, err := s.Runs(t.Context(), store.RunFilter{}, page)
		newAt(i)
		i++
		return runs, next, err
	})
	same(t, "runs", namesOf(found, func(run record.Run) string { return run.ID }), want)
}

func badCursorIsRefused(t *testing.T, backend Backend) {
	s := open(t, backend)
	ctx := t.Context()
	term := beginTerm(t, s)
	run := create(t, s, term, 3)
	create(t, s, term, 3)
	apply(t, s, revision("a", "1"), revision("b", "1"))
	apply(t, s, revision("a", "2"))
	must(t, s.SaveNodes(ctx, term, []record.Node{{NodeID: "1", ClusterID: "c"}, {NodeID: "2", ClusterID: "c"}}))
	lists := map[string]func(page store.Page) (string, error){
		"runs": func(page store.Page) (string, error) {
			_, next, err := s.Runs(ctx, store.RunFilter{}, page)
			return next, err
		},
		"run nodes": func(page store.Page) (string, error) {
			_, next, err := s.RunNodes(ctx, run.ID, nil, page)
			return next, err
		},
		"playbooks": func(page store.Page) (string, error) { _, next, err := s.Playbooks(ctx, page); return next, err },
		"revisions": func(page store.Page) (string, error) { _, next, err := s.Revisions(ctx, "a", page); return next, err },
		"nodes":     func(page store.Page) (string, error) { _, next, err := s.Nodes(ctx, "", page); return next, err },
	}
	cursors := map[string]string{}
	for name, list := range lists {
		next, err := list(store.Page{Limit: 1})
		must(t, err)
		if next == "" {
			t.Fatalf("%s: no cursor", name)
		}
		cursors[name] = next
	}
	for name, list := range lists {
		for _, bad := range []string{"nonsense", "!", "e30", "bnVsbA", "12"} {
			_, err := list(store.Page{Limit: 1, Cursor: bad})
			wantError(t, fmt.Sprintf("cursor %q of %s", bad, name), err, store.ErrConflict)
		}
		for other, cursor := range cursors {
			if other != name {
				_, err := list(store.Page{Limit: 1, Cursor: cursor})
				wantError(t, fmt.Sprintf("cursor of %s for %s", other, name), err, store.ErrConflict)
			}
		}
	}
}

func eventsAreRead(t *testing.T, backend Backend) {
	s := open(t, backend)
	term := beginTerm(t, s)
	commit := newRun(term, 0)
	addEvents(&commit, 18)
	must(t, s.Create(t.Context(), term, commit))
	create(t, s, term, 0) // another run's events
	for _, test := range []struct {
		after int64
		limit int
		want  []record.Event
	}{
		{0, 0, commit.Events}, {0, 7, commit.Events[:7]}, {7, 7, commit.Events[7:14]}, {14, 7, commit.Events[14:]},
		{19, 0, commit.Events[19:]}, {20, 0, nil}, {99, 5, nil},
	} {
		events, err := s.Events(t.Context(), commit.Run.ID, test.after, test.limit)
		must(t, err)
		same(t, fmt.Sprintf("%d events after %d", test.limit, test.after), events, test.want)
	}
}
