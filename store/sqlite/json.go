package sqlite

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// texts writes the JSON of each item.
func texts[T any](items []T) ([]string, error) {
	found := make([]string, len(items))
	err := split(len(items), func(from, to int) error {
		var all bytes.Buffer
		encoder := json.NewEncoder(&all)
		ends := make([]int, 0, to-from)
		for i := from; i < to; i++ {
			if err := encoder.Encode(&items[i]); err != nil {
				return err
			}
			ends = append(ends, all.Len())
		}
		text, start := all.String(), 0
		for i, end := range ends {
			found[from+i], start = text[start:end-1], end // less the encoder's newline
		}
		return nil
	})
	return found, err
}

// decode reads each text.
func decode[T any](docs []string) ([]T, error) {
	items := make([]T, len(docs))
	err := split(len(docs), func(from, to int) error {
		for i := from; i < to; i++ {
			if err := json.Unmarshal([]byte(docs[i]), &items[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return items, err
}

// split does work on parts of n things, at once where there are many.
func split(n int, work func(from, to int) error) error {
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

// scan reads the row's columns as JSON.
func scan(row *sql.Rows, values ...any) error {
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

// into appends every row's only column to items.
func into[T any](items *[]T) func(row *sql.Rows) error {
	return func(row *sql.Rows) error {
		var item T
		err := scan(row, &item)
		*items = append(*items, item)
		return err
	}
}
