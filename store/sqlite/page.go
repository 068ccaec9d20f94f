package sqlite

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/replicante-io/playbooks/store"
)

// formatCursor names the list and the keys of the last item before the next page.
func formatCursor(list string, keys ...any) string {
	text, _ := json.Marshal(append([]any{list}, keys...))
	return base64.RawURLEncoding.EncodeToString(text)
}

// parseCursor reads the keys of a cursor of list into keys.
func parseCursor(cursor, list string, keys ...any) error {
	var parts []json.RawMessage
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(raw, &parts)
	}
	if err == nil && len(parts) != len(keys)+1 {
		err = errOtherList
	}
	for i, key := range append([]any{new(string)}, keys...) {
		if err == nil {
			err = json.Unmarshal(parts[i], key)
		}
		if name, ok := key.(*string); i == 0 && ok && err == nil && *name != list {
			err = errOtherList
		}
	}
	if err != nil {
		return fmt.Errorf("cursor %q: %w: %w", cursor, err, store.ErrConflict)
	}
	return nil
}

var errOtherList = errors.New("it is of another list")

// limitOf is one more than the page holds, which shows whether there is a next page.
func limitOf(page store.Page) int {
	if page.Limit <= 0 {
		return -1
	}
	return page.Limit + 1
}

// trim removes what is beyond the page, and returns the cursor of the next page, if there is one.
func trim[T any](items []T, page store.Page, cursorAfter func(last T) string) ([]T, string) {
	if page.Limit <= 0 || len(items) <= page.Limit {
		return items, ""
	}
	items = items[:page.Limit]
	return items, cursorAfter(items[page.Limit-1])
}

// conditions of a query, all of which must hold.
type conditions struct {
	terms []string
	args  []any
}

func (c *conditions) and(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

// andOneOf requires column to be one of values, if there are any.
func andOneOf[T ~string](c *conditions, column string, values []T) {
	if len(values) > 0 {
		c.terms = append(c.terms, column+" IN "+tuples(1, len(values)))
		for _, value := range values {
			c.args = append(c.args, string(value))
		}
	}
}

func (c *conditions) String() string {
	return strings.Join(append([]string{"true"}, c.terms...), " AND ")
}
