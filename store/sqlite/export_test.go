package sqlite

import (
	"context"
	"fmt"
)

// FillDisk lets the file of s not grow any more, as on a disk that is full.
func (s *Store) FillDisk(ctx context.Context) error {
	f, err := s.connect(ctx)
	if err != nil {
		return err
	}
	var pages int
	if err := f.conn.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages); err != nil {
		return err
	}
	_, err = f.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages))
	return err
}

// Synchronous is what SQLite waits for before it acknowledges a commit: 2 is for the disk.
func (s *Store) Synchronous(ctx context.Context) (level int, err error) {
	f, err := s.connect(ctx)
	if err == nil {
		err = f.conn.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&level)
	}
	return level, err
}
