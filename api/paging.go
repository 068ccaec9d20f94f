package api

import (
	"errors"
	"net/http"

	"github.com/replicante-io/playbooks/store"
)

// PageInput selects a page. It is exported for huma, which ignores embedded structs that are not.
type PageInput struct {
	Limit  int    `query:"limit" default:"100" minimum:"1" maximum:"1000"`
	Cursor string `query:"cursor" doc:"The next_cursor of the page before."`
}

func (p *PageInput) page() store.Page { return store.Page{Limit: p.Limit, Cursor: p.Cursor} }

// List is a page of a list; NextCursor is "" on the last one.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
	// Partial is true where the leader answers from memory, with its unfinished runs only.
	Partial bool `json:"partial,omitempty" doc:"The primary store does not answer: only unfinished runs are listed."`
}

type listOutput[T any] struct {
	Body List[T]
}

// list is the answer for a page that the store has read.
func list[T any](items []T, next string, err error) (*listOutput[T], error) {
	if errors.Is(err, store.ErrConflict) {
		return nil, fail(http.StatusBadRequest, "bad_cursor", "query.cursor is not the next_cursor of an earlier page")
	}
	if err != nil {
		return nil, err
	}
	if items == nil {
		items = []T{}
	}
	return &listOutput[T]{Body: List[T]{Items: items, NextCursor: next}}, nil
}
