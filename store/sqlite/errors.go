package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/replicante-io/playbooks/store"
)

// storeErrors are the errors that a caller of the store knows.
var storeErrors = []error{
	store.ErrStaleTerm, store.ErrConflict, store.ErrNotFound, store.ErrExists, store.ErrUnavailable, store.ErrUnusable, store.ErrNotStorable,
	store.ErrKeyReused,
}

// wrap adds to err what was tried, and wraps the error of a store that fits.
func (s *Store) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, translate(s.path, err))
}

// translate wraps an error of SQLite in the error of a store that fits, with what to do.
func translate(path string, err error) error {
	for _, known := range storeErrors {
		if errors.Is(err, known) {
			return err
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if errors.As(err, new(*json.MarshalerError)) || errors.As(err, new(*json.UnsupportedValueError)) {
		return fmt.Errorf("%w: %w", store.ErrNotStorable, err)
	}
	var sqliteErr *driver.Error
	if !errors.As(err, &sqliteErr) {
		return err
	}
	switch sqliteErr.Code() & 0xff {
	case codes.SQLITE_FULL:
		return fmt.Errorf("the disk of %s is full, make room on it: %w: %w", path, store.ErrUnavailable, err)
	case codes.SQLITE_IOERR:
		return fmt.Errorf("the disk of %s cannot be read or written, look for its errors in the system's log: %w: %w", path, store.ErrUnavailable, err)
	case codes.SQLITE_BUSY, codes.SQLITE_LOCKED:
		return fmt.Errorf("another program holds a lock on %s: %w: %w", path, store.ErrUnavailable, err)
	case codes.SQLITE_INTERRUPT, codes.SQLITE_NOMEM:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case codes.SQLITE_TOOBIG:
		return fmt.Errorf("%w: %w", store.ErrNotStorable, err)
	case codes.SQLITE_NOTADB:
		return fmt.Errorf("%s is not a SQLite database, name another file: %w: %w", path, store.ErrUnusable, err)
	case codes.SQLITE_CORRUPT:
		return fmt.Errorf("%s is damaged, restore it from a backup: %w: %w", path, store.ErrUnusable, err)
	case codes.SQLITE_CANTOPEN:
		if open, openErr := os.Open(os.DevNull); openErr != nil { // for want of file descriptors
			return fmt.Errorf("%s cannot be opened: %w: %w", path, store.ErrUnavailable, openErr)
		} else {
			_ = open.Close()
		}
		return fmt.Errorf("%s cannot be opened, let this user write it and its directory: %w: %w", path, store.ErrUnusable, err)
	case codes.SQLITE_READONLY, codes.SQLITE_PERM, codes.SQLITE_AUTH:
		return fmt.Errorf("%s cannot be opened for writing, let this user write it and its directory: %w: %w", path, store.ErrUnusable, err)
	}
	return err
}
