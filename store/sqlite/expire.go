package sqlite

import (
	"context"
	"time"
)

// expireLimit is how many records are deleted in one transaction, so that other writes need not wait long.
const expireLimit = 1000

// Maintain deletes what has expired, in small steps, until ctx ends.
func (s *Store) Maintain(ctx context.Context) error {
	tick := time.NewTicker(s.expireInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.expire(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot delete expired runs; will try again", "error", err)
		}
	}
}

// expire deletes until nothing that has expired is left, or ctx ends.
func (s *Store) expire(ctx context.Context) error {
	for more := true; more; {
		err := s.write(ctx, "delete what has expired", func(w *writer) error {
			term, err := w.term()
			if more = err == nil && term.FinishedTTL() > 0; more {
				more, err = w.expire(time.Now().Add(-term.FinishedTTL()).UnixMilli())
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expire does one step; before is the finish_ts before which everything has expired. The run itself is deleted first; it is
// listed in expired_runs until all its other records are deleted too.
func (w *writer) expire(before int64) (more bool, err error) {
	var runID string
	listed, err := w.texts("SELECT run_id FROM expired_runs LIMIT 1")
	if err != nil {
		return false, err
	}
	if len(listed) == 0 {
		expired, err := w.texts(`DELETE FROM playbook_runs_data WHERE id IN
			(SELECT id FROM playbook_runs_data WHERE finish_ms < ? AND NOT open LIMIT 1) RETURNING id`, before)
		if err != nil {
			return false, err
		}
		if len(expired) == 0 {
			deleted, err := w.exec(`DELETE FROM idempotency_keys_data WHERE key IN
				(SELECT key FROM idempotency_keys_data WHERE finish_ms < ? LIMIT ?)`, before, expireLimit)
			return deleted == expireLimit, err
		}
		runID = expired[0]
		if _, err := w.exec("INSERT INTO expired_runs (run_id) VALUES (?)", runID); err != nil {
			return false, err
		}
		if _, err := w.exec("DELETE FROM playbook_run_specs_data WHERE run_id = ?", runID); err != nil {
			return false, err
		}
		_, err = w.exec("DELETE FROM idempotency_keys_data WHERE run_id = ?", runID)
		return true, err
	}
	runID = listed[0]
	for _, deletion := range []string{
		"DELETE FROM playbook_run_events_data WHERE run_id = ?1 AND seq IN (SELECT seq FROM playbook_run_events_data WHERE run_id = ?1 LIMIT ?2)",
		"DELETE FROM playbook_run_agents_data WHERE run_id = ?1 AND node IN (SELECT node FROM playbook_run_agents_data WHERE run_id = ?1 LIMIT ?2)",
	} {
		if deleted, err := w.exec(deletion, runID, expireLimit); err != nil || deleted > 0 {
			return true, err
		}
	}
	_, err = w.exec("DELETE FROM expired_runs WHERE run_id = ?", runID)
	return true, err
}
