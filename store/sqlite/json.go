package sqlite

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/store"
)

// itemError is why an item has no JSON.
type itemError struct {
	index int
	err   error
}

func (e *itemError) Error() string { return e.err.Error() }

// Unwrap makes it an ErrNotStorable.
func (e *itemError) Unwrap() []error { return []error{store.ErrNotStorable, e.err} }

// encode writes the JSON of each item. Its error is an itemError.
func encode[T any](items []T) ([]string, error) {
	docs := make([]string, len(items))
	err := parallel(len(items), func(from, to int) error {
		var all bytes.Buffer
		encoder := json.NewEncoder(&all)
		ends := make([]int, 0, to-from)
		for i := from; i < to; i++ {
			if err := encoder.Encode(&items[i]); err != nil {
				return &itemError{i, err}
			}
			ends = append(ends, all.Len())
		}
		text, start := all.String(), 0
		for i, end := range ends {
			docs[from+i], start = text[start:end-1], end // without the encoder's newline
		}
		return nil
	})
	return docs, err
}

// decode reads each document.
func decode[T any](docs []string) ([]T, error) {
	items := make([]T, len(docs))
	err := parallel(len(docs), func(from, to int) error {
		for i := from; i < to; i++ {
			if err := json.Unmarshal([]byte(docs[i]), &items[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return items, err
}

// parallel divides n items among the processors, where there are many of them, and waits for all.
func parallel(n int, work func(from, to int) error) error {
	parts := min(runtime.GOMAXPROCS(0), 1+n/128)
	if parts == 1 {
		return work(0, n)
	}
	var group errgroup.Group
	for part := range parts {
		group.Go(func() error { return work(part*n/parts, (part+1)*n/parts) })
	}
	return group.Wait()
}

// scanJSON reads the row's columns as JSON.
func scanJSON(row *sql.Rows, values ...any) error {
	docs := make([]sql.RawBytes, len(values))
	columns := make([]any, len(values))
	for i := range docs {
		columns[i] = &docs[i]
	}
	if err := row.Scan(columns...); err != nil {
		return err
	}
	for i, doc := range docs {
		if err := json.Unmarshal(doc, values[i]); err != nil {
			return err
		}
	}
	return nil
}

// appendJSON appends every row's only column, read as JSON, to items.
func appendJSON[T any](items *[]T) func(row *sql.Rows) error {
	return func(row *sql.Rows) error {
		var item T
		err := scanJSON(row, &item)
		*items = append(*items, item)
		return err
	}
}

// appendTexts appends the rows' text to docs; it sets found for any row, also for one without text, which stands for a run
// that has no such records.
func appendTexts(docs *[]string, found *bool) func(row *sql.Rows) error {
	return func(row *sql.Rows) error {
		*found = true
		var doc sql.NullString
		err := row.Scan(&doc)
		if doc.Valid {
			*docs = append(*docs, doc.String)
		}
		return err
	}
}
