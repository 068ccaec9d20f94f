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

// application marks our files: "RPLY" as SQLite's application_id.
const application = 0x52504c59

// readerCount is how many reads may be under way at once.
const readerCount = 4

// file is an open database file: its lock, the one connection that writes, and those that read.
type file struct {
	path    string
	lock    *os.File
	writing *sql.DB // of one connection, which turn guards
	conn    *sql.Conn
	turn    chan struct{} // holds a token while nobody writes
	closed  chan struct{}
	writer  *writer
	readers *sql.DB
	queries sync.Map // of readers' *sql.Stmt by text
	ready   atomic.Bool
}

// openFile takes the lock and opens what is there, or a new file. It changes nothing, and refuses what is not ours.
func openFile(ctx context.Context, path string) (opened *file, err error) {
	f := &file{path: path, turn: make(chan struct{}, 1), closed: make(chan struct{})}
	f.turn <- struct{}{}
	defer func() {
		if err != nil {
			_ = f.close()
			err = fmt.Errorf("open %s: %w", path, explain(path, err))
		}
	}()
	if wrong := directory(path); wrong != "" {
		return nil, fmt.Errorf("%s: %w", wrong, store.ErrUnusable)
	}
	if f.lock, err = lock(path); err != nil {
		return nil, err
	}
	if err := touch(path); err != nil {
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
	f.readers.SetMaxOpenConns(readerCount)
	f.readers.SetMaxIdleConns(readerCount)
	if err := f.inspect(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// touch makes the file if it is missing, readable only for its owner: runs may carry secrets.
func touch(path string) error {
	made, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", err, store.ErrUnusable)
	}
	return made.Close()
}

// settle puts the names of new files in path's directory on the disk.
func settle(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// inspect finds out whose the file is, and whether it is set up.
func (f *file) inspect(ctx context.Context) error {
	var owner, tables int
	if err := f.conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&owner); err != nil {
		return err
	}
	if err := f.conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	switch {
	case owner != application && tables > 0:
		return fmt.Errorf("it is the database of another program, name another file: %w", store.ErrUnusable)
	case owner != application:
		return nil
	}
	var version int
	if err := f.conn.QueryRowContext(ctx, "SELECT schema FROM terms").Scan(&version); err != nil {
		return err
	}
	if version > schema {
		return fmt.Errorf("it was written by a newer version (schema %d, this one knows %d), use that version: %w", version, schema, store.ErrUnusable)
	}
	f.ready.Store(true)
	return nil
}

// close waits for who is writing, and refuses who would.
func (f *file) close() error {
	close(f.closed)
	<-f.turn
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

// alone runs do while nobody else writes.
func (f *file) alone(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.closed:
		return fmt.Errorf("closed: %w", store.ErrUnavailable)
	case <-f.turn:
		defer func() { f.turn <- struct{}{} }()
		return do()
	}
}

// transaction runs do, alone, between BEGIN and COMMIT.
func (f *file) transaction(ctx context.Context, do func(w *writer) error) error {
	return f.alone(ctx, func() error { return f.begin(ctx, do) })
}

func (f *file) begin(ctx context.Context, do func(w *writer) error) error {
	// A statement is never interrupted: what was begun takes no longer than the disk does.
	_, err := f.writer.exec("BEGIN IMMEDIATE")
	if err == nil {
		err = do(f.writer)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		_, err = f.writer.exec("COMMIT")
	}
	if err != nil {
		// It fails where SQLite has rolled back already. If it fails for another reason, the next BEGIN does, too, and this
		// is tried again.
		_, _ = f.conn.ExecContext(context.Background(), "ROLLBACK")
	}
	return err
}

// query calls each with every row.
func (f *file) query(ctx context.Context, query string, args []any, each func(row *sql.Rows) error) error {
	prepared, ok := f.queries.Load(query)
	if !ok {
		made, err := f.readers.PrepareContext(ctx, query)
		if err != nil {
			return f.orClosed(err)
		}
		if prepared, ok = f.queries.LoadOrStore(query, made); ok {
			_ = made.Close()
		}
	}
	rows, err := prepared.(*sql.Stmt).QueryContext(ctx, args...)
	if err == nil {
		err = forEach(rows, each)
	}
	return f.orClosed(err)
}

// orClosed says of an error met while the file was being closed that this is why.
func (f *file) orClosed(err error) error {
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

// writer is the connection that writes, inside a transaction.
type writer struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

func (w *writer) prepare(query string) (*sql.Stmt, error) {
	if prepared, ok := w.prepared[query]; ok {
		return prepared, nil
	}
	prepared, err := w.conn.PrepareContext(context.Background(), query)
	if err == nil {
		w.prepared[query] = prepared
	}
	return prepared, err
}

// exec returns how many rows have changed.
func (w *writer) exec(query string, args ...any) (int64, error) {
	prepared, err := w.prepare(query)
	if err != nil {
		return 0, err
	}
	result, err := prepared.Exec(args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// row reads the first row; sql.ErrNoRows where there is none.
func (w *writer) row(query string, args []any, into ...any) error {
	prepared, err := w.prepare(query)
	if err != nil {
		return err
	}
	return prepared.QueryRow(args...).Scan(into...)
}

// texts reads one column.
func (w *writer) texts(query string, args ...any) ([]string, error) {
	prepared, err := w.prepare(query)
	if err != nil {
		return nil, err
	}
	rows, err := prepared.Query(args...)
	if err != nil {
		return nil, err
	}
	var found []string
	err = forEach(rows, func(row *sql.Rows) error {
		var text string
		err := row.Scan(&text)
		found = append(found, text)
		return err
	})
	return found, err
}

// insertMany runs insert, which ends in VALUES, for all rows of columns values each, many rows at a time.
func (w *writer) insertMany(insert, conflict string, columns int, values []any) error {
	for len(values) > 0 {
		rows := min(len(values)/columns, 64)
		if rows < 64 {
			rows = 1 // keeps the number of prepared statements at two
		}
		if _, err := w.exec(insert+tuples(rows, columns)+conflict, values[:rows*columns]...); err != nil {
			return err
		}
		values = values[rows*columns:]
	}
	return nil
}
