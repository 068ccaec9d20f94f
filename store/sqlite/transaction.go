package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/replicante-io/playbooks/store"
)

// insertRows is how many rows one statement of insertMany inserts.
const insertRows = 64

// exclusively runs do while nobody else writes. It waits for that until ctx ends.
func (f *file) exclusively(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.closed:
		return fmt.Errorf("closed: %w", store.ErrUnavailable)
	case <-f.writeLock:
		defer func() { f.writeLock <- struct{}{} }()
		return do()
	}
}

// transaction runs do in a transaction, while nobody else writes.
func (f *file) transaction(ctx context.Context, do func(w *writer) error) error {
	return f.exclusively(ctx, func() error { return f.begin(ctx, do) })
}

// begin is transaction for who holds writeLock.
func (f *file) begin(ctx context.Context, do func(w *writer) error) error {
	// A statement is never interrupted: what has begun takes no longer than the disk does.
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
		// The rollback fails where SQLite has rolled back already. If it fails for another reason, the next BEGIN fails
		// too, and the rollback is tried again.
		_, _ = f.conn.ExecContext(context.Background(), "ROLLBACK")
	}
	return err
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

// insertMany runs insert, which ends in VALUES, with rows of so many columns, and then conflict. It uses statements of many
// rows and of one, so that only two are prepared.
func (w *writer) insertMany(insert, conflict string, columns int, values []any) error {
	for len(values) > 0 {
		rows := 1
		if len(values) >= insertRows*columns {
			rows = insertRows
		}
		if _, err := w.exec(insert+tuples(rows, columns)+conflict, values[:rows*columns]...); err != nil {
			return err
		}
		values = values[rows*columns:]
	}
	return nil
}
