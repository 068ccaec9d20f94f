package sqlite

import (
	"context"
	"fmt"
)

// FillDisk keeps the file of s from growing, as a full disk does.
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

// Synchronous is SQLite's setting of what a commit waits for: 2 is the disk.
func (s *Store) Synchronous(ctx context.Context) (level int, err error) {
	f, err := s.connect(ctx)
	if err == nil {
		err = f.conn.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&level)
	}
	return level, err
}
