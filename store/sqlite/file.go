package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/replicante-io/playbooks/store"
)

// applicationID marks our files: "RPLY" as SQLite's application_id.
const applicationID = 0x52504c59

// maxReaders is how many reads may be in progress at once.
const maxReaders = 4

// file is an open database file: its lock, the one connection that writes, and those that read.
type file struct {
	path      string
	identity  os.FileInfo // of what was at path when it was opened
	lock      *os.File
	writing   *sql.DB       // has only conn
	conn      *sql.Conn     // used while writeLock is held
	writeLock chan struct{} // holds a token while nobody writes
	closed    chan struct{}
	writer    *writer
	readers   *sql.DB
	queries   sync.Map // of readers' *sql.Stmt by text
	ready     atomic.Bool
}

// openFile takes the lock and opens what is there, or a new file. It changes nothing, and refuses a file of another program.
func openFile(ctx context.Context, path string) (opened *file, err error) {
	f := &file{path: path, writeLock: make(chan struct{}, 1), closed: make(chan struct{})}
	f.writeLock <- struct{}{}
	defer func() {
		if err != nil {
			_ = f.close()
			err = fmt.Errorf("open %s: %w", path, translate(path, err))
		}
	}()
	if problem := checkDirectory(path); problem != "" {
		return nil, fmt.Errorf("%s: %w", problem, store.ErrUnusable)
	}
	if f.lock, err = lock(path); err != nil {
		return nil, err
	}
	if f.identity, err = createFile(path); err != nil {
		return nil, err
	}
	dsn := (&url.URL{Scheme: "file", Path: path}).String() + "?_dqs=0&_error_rc=1&_busy_timeout=5000"
	if f.writing, err = sql.Open("sqlite", dsn+"&_synchronous=FULL&_pragma=cache_size(-16000)"); err != nil {
		return nil, err
	}
	f.writing.SetMaxOpenConns(1)
	if f.conn, err = f.writing.Conn(ctx); err != nil {
		return nil, err
	}
	f.writer = &writer{conn: f.conn, prepared: map[string]*sql.Stmt{}}
	if f.readers, err = sql.Open("sqlite", dsn+"&_query_only=1"); err != nil {
		return nil, err
	}
	f.readers.SetMaxOpenConns(maxReaders)
	f.readers.SetMaxIdleConns(maxReaders)
	if err := f.checkContent(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// createFile creates the file if it is missing, readable only by its owner: runs may hold secrets.
func createFile(path string) (os.FileInfo, error) {
	created, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, store.ErrUnusable)
	}
	defer created.Close()
	return created.Stat()
}

// checkInPlace fails when the file that is open is no longer the one at its path: what is written to it would be lost.
func (f *file) checkInPlace() error {
	found, err := os.Stat(f.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s was removed while it was in use: stop this replica, put the file back or restore a backup, and start it: %w",
			f.path, store.ErrUnusable)
	case err != nil:
		return fmt.Errorf("find %s: %w: %w", f.path, store.ErrUnavailable, err)
	case !os.SameFile(found, f.identity):
		return fmt.Errorf("%s was replaced while it was in use: stop this replica, see that the right file is there, and start it: %w",
			f.path, store.ErrUnusable)
	}
	return nil
}

// syncDirectory writes the names of new files in path's directory to the disk.
func syncDirectory(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// checkContent refuses a file of another program or of a newer version, and sets ready if the file is set up.
func (f *file) checkContent(ctx context.Context) error {
	var application, tables int
	if err := f.conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&application); err != nil {
		return err
	}
	if err := f.conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	switch {
	case application != applicationID && tables > 0:
		return fmt.Errorf("it is the database of another program, name another file: %w", store.ErrUnusable)
	case application != applicationID:
		return nil
	}
	var version int
	if err := f.conn.QueryRowContext(ctx, "SELECT schema FROM terms").Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return fmt.Errorf("it was written by a newer version (schema %d, this one knows %d), use that version: %w", version, schemaVersion, store.ErrUnusable)
	}
	f.ready.Store(true)
	return nil
}

// close waits for a write in progress and refuses further ones.
func (f *file) close() error {
	close(f.closed)
	<-f.writeLock
	var errs []error
	if f.readers != nil {
		errs = append(errs, f.readers.Close())
	}
	if f.conn != nil {
		errs = append(errs, f.conn.Close())
	}
	if f.writing != nil {
		errs = append(errs, f.writing.Close())
	}
	if f.lock != nil {
		errs = append(errs, f.lock.Close())
	}
	return errors.Join(errs...)
}

// query calls each with every row.
func (f *file) query(ctx context.Context, query string, args []any, each func(row *sql.Rows) error) error {
	prepared, ok := f.queries.Load(query)
	if !ok {
		statement, err := f.readers.PrepareContext(ctx, query)
		if err != nil {
			return f.explainClosed(err)
		}
		if prepared, ok = f.queries.LoadOrStore(query, statement); ok {
			_ = statement.Close()
		}
	}
	rows, err := prepared.(*sql.Stmt).QueryContext(ctx, args...)
	if err == nil {
		err = forEach(rows, each)
	}
	return f.explainClosed(err)
}

// explainClosed wraps an error that the closing of the file may have caused.
func (f *file) explainClosed(err error) error {
	select {
	case <-f.closed:
		if err != nil {
			return fmt.Errorf("closed: %w: %w", err, store.ErrUnavailable)
		}
	default:
	}
	return err
}

func forEach(rows *sql.Rows, each func(row *sql.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
