package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/replicante-io/playbooks/store"
)

// What one replica does at a time, so that neither many clients nor those that do not read their answers take its memory.
const (
	maxReads   = 32      // answers to reads that are made and sent; streams are not counted
	maxUploads = 2       // uploads that are parsed: a tree takes many times the memory of its text
	maxPage    = 2 << 20 // bytes of a page, after which it ends; a page has one item at least
	firstItems = 20      // read of the store at a time, until it is known how large they are
)

// places is a bound on what is done at a time.
type places chan struct{}

// take waits for a place. It returns false where ctx ends before there is one.
func (p places) take(ctx context.Context) bool {
	select {
	case p <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p places) leave() { <-p }

// boundReads is the middleware of reads: an answer has its place until it is sent.
func (s *server) boundReads(ctx huma.Context, next func(huma.Context)) {
	if strings.Contains(ctx.Header("Accept"), "text/event-stream") {
		next(ctx)
		return
	}
	waiting, cancel := context.WithTimeout(ctx.Context(), readTimeout)
	defer cancel()
	if !s.reads.take(waiting) {
		_, w := humago.Unwrap(ctx)
		errBusy.write(w)
		return
	}
	defer s.reads.leave()
	next(ctx)
}

var errBusy = fail(http.StatusServiceUnavailable, "busy", "this replica is busy with other requests: try again in a moment")

// readPage reads a page of the store that ends after about maxPage bytes.
func readPage[T any](page store.Page, read func(store.Page) (items []T, next string, err error)) ([]T, string, error) {
	all := []T{}
	size := 0
	for {
		room := page.Limit - len(all)
		count := min(room, firstItems)
		if len(all) > 0 {
			count = min(room, max(1, (maxPage-size)/max(1, size/len(all))))
		}
		items, next, err := read(store.Page{Limit: count, Cursor: page.Cursor})
		if err != nil {
			return nil, "", err
		}
		all = append(all, items...)
		for i := range items {
			text, err := json.Marshal(&items[i])
			if err != nil {
				return nil, "", err
			}
			size += len(text)
		}
		if next == "" || len(items) == 0 || len(all) >= page.Limit || size >= maxPage {
			return all, next, nil
		}
		page.Cursor = next
	}
}
