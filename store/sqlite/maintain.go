package sqlite

import (
	"context"
	"time"
)

// expireMany is how many records are deleted in one transaction, so that other writes need not wait long.
const expireMany = 1000

// Maintain deletes what has expired, in small steps, until ctx ends.
func (s *Store) Maintain(ctx context.Context) error {
	tick := time.NewTicker(s.janitor)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.expire(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot delete expired runs; trying again later", "error", err)
		}
	}
}

// expire deletes until there is nothing left to delete, or ctx ends.
func (s *Store) expire(ctx context.Context) error {
	for more := s.ttl > 0; more; {
		err := s.write(ctx, "delete what has expired", func(w *writer) (err error) {
			more, err = w.expire(time.Now().Add(-s.ttl).UnixMilli())
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expire does the next step; old is the finish_ts before which everything has expired. A run that has expired is gone at
// once, with its place in expired_runs until all that was its own is gone, too.
func (w *writer) expire(old int64) (more bool, err error) {
	var runID string
	left, err := w.texts("SELECT run_id FROM expired_runs LIMIT 1")
	if err != nil {
		return false, err
	}
	if len(left) == 0 {
		gone, err := w.texts(`DELETE FROM playbook_runs_data WHERE id IN
			(SELECT id FROM playbook_runs_data WHERE finish_ms < ? AND doc ->> '$.stamped' LIMIT 1) RETURNING id`, old)
		if err != nil {
			return false, err
		}
		if len(gone) == 0 {
			deleted, err := w.exec(`DELETE FROM idempotency_keys_data WHERE key IN
				(SELECT key FROM idempotency_keys_data WHERE finish_ms < ? LIMIT ?)`, old, expireMany)
			return deleted == expireMany, err
		}
		runID = gone[0]
		if _, err := w.exec("INSERT INTO expired_runs (run_id) VALUES (?)", runID); err != nil {
			return false, err
		}
		if _, err := w.exec("DELETE FROM playbook_run_specs_data WHERE run_id = ?", runID); err != nil {
			return false, err
		}
		_, err = w.exec("DELETE FROM idempotency_keys_data WHERE run_id = ?", runID)
		return true, err
	}
	runID = left[0]
	for _, bounded := range []string{
		"DELETE FROM playbook_run_events_data WHERE run_id = ?1 AND seq IN (SELECT seq FROM playbook_run_events_data WHERE run_id = ?1 LIMIT ?2)",
		"DELETE FROM playbook_run_agents_data WHERE run_id = ?1 AND node IN (SELECT node FROM playbook_run_agents_data WHERE run_id = ?1 LIMIT ?2)",
	} {
		if deleted, err := w.exec(bounded, runID, expireMany); err != nil || deleted > 0 {
			return true, err
		}
	}
	_, err = w.exec("DELETE FROM expired_runs WHERE run_id = ?", runID)
	return true, err
}
