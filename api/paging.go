package api

import (
	"errors"
	"net/http"

	"github.com/replicante-io/playbooks/store"
)

// PageInput asks for a page. It is exported for huma, which looks into no other embedded struct.
type PageInput struct {
	Limit  int    `query:"limit" default:"100" minimum:"1" maximum:"1000"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
}

func (p *PageInput) page() store.Page { return store.Page{Limit: p.Limit, Cursor: p.Cursor} }

// List is a page of things; NextCursor is "" on the last one.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
	// Partial is true of the leader's answer from memory: only its unfinished runs.
	Partial bool `json:"partial,omitempty" doc:"The primary store does not answer: these are only the unfinished runs."`
}

type listOutput[T any] struct {
	Body List[T]
}

// list is the answer made of what the store said.
func list[T any](items []T, next string, err error) (*listOutput[T], error) {
	if errors.Is(err, store.ErrConflict) {
		return nil, fail(http.StatusBadRequest, "bad_cursor", "query.cursor: this is no next_cursor of an earlier page")
	}
	if err != nil {
		return nil, err
	}
	if items == nil {
		items = []T{}
	}
	return &listOutput[T]{Body: List[T]{Items: items, NextCursor: next}}, nil
}
