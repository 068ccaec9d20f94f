package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// sealMany is how many records are stamped in one transaction, so that other writes need not wait long.
const sealMany = 1000

// StampFinished stamps everything of an ended run. Its idempotency keys need no stamp: they go with it.
func (s *Store) StampFinished(ctx context.Context, term int64, runID string) error {
	what := "stamp run " + runID
	for {
		var rev int64
		var stamp string
		step := func(do func(w *writer, run record.Run) error) error {
			return s.write(ctx, what, func(w *writer) error {
				run, err := w.head(runID)
				switch {
				case err != nil:
					return err
				case run.Term > term:
					return fmt.Errorf("term %d, its term is %d: %w", term, run.Term, store.ErrStaleTerm)
				case run.FinishTS == nil:
					return fmt.Errorf("it has not ended: %w", store.ErrConflict)
				}
				return do(w, run)
			})
		}
		if err := step(func(_ *writer, run record.Run) error {
			text, err := json.Marshal(run.FinishTS)
			rev, stamp = run.Rev, string(text)
			return err
		}); err != nil {
			return err
		}
		for after, more := "", true; more; {
			if err := step(func(w *writer, _ record.Run) (err error) {
				after, more, err = stampMany(w, "playbook_run_agents_data", "node", runID, after, "\U0010ffff", stamp)
				return err
			}); err != nil {
				return err
			}
		}
		for after, more := int64(0), true; more; {
			if err := step(func(w *writer, _ record.Run) (err error) {
				after, more, err = stampMany(w, "playbook_run_events_data", "seq", runID, after, math.MaxInt64, stamp)
				return err
			}); err != nil {
				return err
			}
		}
		stamped := false
		if err := step(func(w *writer, run record.Run) error {
			if run.Rev != rev {
				return nil // a commit came between: what it wrote must be stamped, too
			}
			stamped, run.Stamped = true, true
			return w.putHead(run)
		}); err != nil || stamped {
			return err
		}
	}
}

// stampMany stamps the next records of the run after one whose key is after, and returns the last one's key and whether
// there are more.
func stampMany[K int64 | string](w *writer, table, key, runID string, after, end K, stamp string) (K, bool, error) {
	var last *K
	if err := w.row(fmt.Sprintf("SELECT max(%s) FROM (SELECT %s FROM %s WHERE run_id = ? AND %s > ? ORDER BY %s LIMIT ?)", key, key, table, key, key),
		[]any{runID, after, sealMany}, &last); err != nil || last == nil {
		return end, false, err
	}
	_, err := w.exec(fmt.Sprintf("UPDATE %s SET doc = json_set(doc, '$.finish_ts', json(?)) WHERE run_id = ? AND %s > ? AND %s <= ? AND doc ->> '$.finish_ts' IS NULL",
		table, key, key), stamp, runID, after, *last)
	return *last, true, err
}

// unstamp takes back what StampFinished stamped.
func (w *writer) unstamp(runID string) error {
	for _, table := range []string{"playbook_run_agents_data", "playbook_run_events_data"} {
		if _, err := w.exec(fmt.Sprintf("UPDATE %s SET doc = json_remove(doc, '$.finish_ts') WHERE run_id = ? AND doc ->> '$.finish_ts' IS NOT NULL", table), runID); err != nil {
			return err
		}
	}
	return nil
}
