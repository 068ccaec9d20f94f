package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// stampLimit is how many records are stamped in one transaction, so that other writes need not wait long.
const stampLimit = 1000

// stamping is one call of StampFinished.
type stamping struct {
	store *Store
	term  int64
	runID string
}

// StampFinished stamps all records of a finished run. Its idempotency records need no stamp: they are deleted with it.
func (s *Store) StampFinished(ctx context.Context, term int64, runID string) error {
	st := stamping{store: s, term: term, runID: runID}
	for {
		done, err := st.once(ctx)
		if err != nil || done {
			return err
		}
	}
}

// once stamps what the run has. It is not done where a commit came in between: what that wrote must be stamped too.
func (st *stamping) once(ctx context.Context) (done bool, err error) {
	var rev int64
	var finish string
	err = st.step(ctx, func(_ *writer, run record.Run) error {
		text, err := json.Marshal(run.FinishTS)
		rev, finish = run.Rev, string(text)
		return err
	})
	if err != nil {
		return false, err
	}
	if err := stampAll(ctx, st, "playbook_run_agents_data", "node", "", "\U0010ffff", finish); err != nil {
		return false, err
	}
	if err := stampAll(ctx, st, "playbook_run_events_data", "seq", 0, int64(math.MaxInt64), finish); err != nil {
		return false, err
	}
	err = st.step(ctx, func(w *writer, run record.Run) error {
		if run.Rev != rev {
			return nil
		}
		done, run.Stamped = true, true
		return w.putHead(run)
	})
	return done, err
}

// step runs do in a transaction, on the run as it is stored, unless it must not be stamped.
func (st *stamping) step(ctx context.Context, do func(w *writer, run record.Run) error) error {
	return st.store.write(ctx, "stamp run "+st.runID, func(w *writer) error {
		run, err := w.head(st.runID)
		switch {
		case err != nil:
			return err
		case run.Term > st.term:
			return staleTerm(run, st.term)
		case run.FinishTS == nil:
			return fmt.Errorf("it is not finished: %w", store.ErrConflict)
		}
		return do(w, run)
	})
}

// stampAll stamps the run's records of a table, in steps by key.
func stampAll[K int64 | string](ctx context.Context, st *stamping, table, key string, after, end K, finish string) error {
	for more := true; more; {
		err := st.step(ctx, func(w *writer, _ record.Run) (err error) {
			after, more, err = stampSome(w, table, key, st.runID, after, end, finish)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// stampSome stamps the next records of the run after the one whose key is after, and returns the last one's key and whether
// there are more.
func stampSome[K int64 | string](w *writer, table, key, runID string, after, end K, finish string) (K, bool, error) {
	var last *K
	if err := w.row(fmt.Sprintf("SELECT max(%s) FROM (SELECT %s FROM %s WHERE run_id = ? AND %s > ? ORDER BY %s LIMIT ?)", key, key, table, key, key),
		[]any{runID, after, stampLimit}, &last); err != nil || last == nil {
		return end, false, err
	}
	_, err := w.exec(fmt.Sprintf("UPDATE %s SET doc = json_set(doc, '$.finish_ts', json(?)) WHERE run_id = ? AND %s > ? AND %s <= ? AND doc ->> '$.finish_ts' IS NULL",
		table, key, key), finish, runID, after, *last)
	return *last, true, err
}

// removeStamps removes what StampFinished has stamped.
func (w *writer) removeStamps(runID string) error {
	for _, table := range []string{"playbook_run_agents_data", "playbook_run_events_data"} {
		if _, err := w.exec(fmt.Sprintf("UPDATE %s SET doc = json_remove(doc, '$.finish_ts') WHERE run_id = ? AND doc ->> '$.finish_ts' IS NOT NULL", table), runID); err != nil {
			return err
		}
	}
	return nil
}
