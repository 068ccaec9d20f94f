package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/replicante-io/playbooks/store"
)

// What one replica does at a time, so that neither many clients nor those that do not read their answers take its memory.
const (
	maxReads   = 32      // answers to reads that are made and sent; of a stream, each read of the store
	maxStreams = 512     // event streams that are open
	maxReplays = 8       // streams that read stored events; they leave most of maxReads to others
	streamPage = 100     // events that a stream reads, and a follower keeps; each stream has as many in memory
	maxUploads = 2       // uploads that are parsed: a tree takes many times the memory of its text
	maxPlans   = 2       // plans that are made: each may take a processor for some seconds
	maxPage    = 1 << 20 // bytes of a page, after which it ends; a page has one item at least
	firstItems = 4       // read of the store at first, until it is known how large they are
	// unreadTimeout is how long a client may take to accept an answer while another one waits for its place.
	unreadTimeout = time.Second
)

var (
	errBusy        = fail(http.StatusServiceUnavailable, "busy", "this replica is busy with other requests: try again in a moment")
	errManyPlans   = fail(http.StatusServiceUnavailable, "busy", "the leader is making other plans: try again in a moment")
	errManyStreams = fail(http.StatusServiceUnavailable, "busy", fmt.Sprintf(
		"this replica sends as many event streams as it may (%d): try again in a moment, or at another replica", maxStreams))
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

// tryTake takes a place where there is one.
func (p places) tryTake() bool {
	select {
	case p <- struct{}{}:
		return true
	default:
		return false
	}
}

func (p places) leave() { <-p }

// readBound bounds the answers to reads. A client that does not accept its answer loses its place to one that waits.
type readBound struct {
	places places

	mu      sync.Mutex
	answers []*readAnswer // that have a place, the oldest first
}

// readAnswer is an answer to a read.
type readAnswer struct {
	since   time.Time
	control *http.ResponseController
}

// take waits for a place for the answer that control writes; nil: nothing is written while it has the place. It returns nil
// where ctx ends before there is one.
func (b *readBound) take(ctx context.Context, control *http.ResponseController) *readAnswer {
	for {
		attempt, cancel := context.WithTimeout(ctx, unreadTimeout)
		taken := b.places.take(attempt)
		cancel()
		switch {
		case taken:
			answer := &readAnswer{since: time.Now(), control: control}
			if control != nil {
				b.mu.Lock()
				b.answers = append(b.answers, answer)
				b.mu.Unlock()
			}
			return answer
		case ctx.Err() != nil:
			return nil
		}
		b.cutOldest()
	}
}

// cutOldest ends the write that the oldest answer is blocked in. An answer that is still being made is not harmed: each of its
// writes gets a time of its own.
func (b *readBound) cutOldest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.answers) == 0 || time.Since(b.answers[0].since) < unreadTimeout {
		return
	}
	oldest := b.answers[0]
	_ = oldest.control.SetWriteDeadline(time.Unix(1, 0))
	b.answers = append(b.answers[1:], oldest) // the next one that waits cuts the next one
}

func (b *readBound) leave(answer *readAnswer) {
	b.mu.Lock()
	b.answers = slices.DeleteFunc(b.answers, func(a *readAnswer) bool { return a == answer })
	b.mu.Unlock()
	b.places.leave()
}

// boundReads is the middleware of reads: an answer has its place until it is sent, or, of a stream, until that begins.
func (s *server) boundReads(ctx huma.Context, next func(huma.Context)) {
	_, w := humago.Unwrap(ctx)
	if isStream(ctx) {
		if !s.streams.tryTake() {
			errManyStreams.write(w)
			return
		}
		defer s.streams.leave()
	}
	waiting, cancel := context.WithTimeout(ctx.Context(), readTimeout)
	defer cancel()
	answer := s.reads.take(waiting, http.NewResponseController(w))
	if answer == nil {
		errBusy.write(w)
		return
	}
	leave := sync.OnceFunc(func() { s.reads.leave(answer) })
	defer leave()
	next(huma.WithValue(ctx, leaveKey{}, leave))
}

func isStream(ctx huma.Context) bool {
	return ctx.Operation().OperationID == listEvents && acceptsStream(ctx.Header("Accept"))
}

// leaveKey is of a func() in the context of a read, with which that leaves its place early.
type leaveKey struct{}

func leaveReads(ctx context.Context) { ctx.Value(leaveKey{}).(func())() }

// readPage reads a page of the store that ends after about maxPage bytes.
func readPage[T any](page store.Page, read func(store.Page) (items []T, next string, err error)) ([]T, string, error) {
	all := []T{}
	var size byteCount
	encoder := json.NewEncoder(&size)
	for {
		count := firstItems
		if len(all) > 0 {
			count = max(1, (maxPage-int(size))/max(1, int(size)/len(all)))
		}
		items, next, err := read(store.Page{Limit: min(count, page.Limit-len(all)), Cursor: page.Cursor})
		if err != nil {
			return nil, "", err
		}
		all = append(all, items...)
		for i := range items {
			if err := encoder.Encode(&items[i]); err != nil {
				return nil, "", err
			}
		}
		if next == "" || len(items) == 0 || len(all) >= page.Limit || size >= maxPage {
			return all, next, nil
		}
		page.Cursor = next
	}
}

// byteCount counts what is written to it.
type byteCount int

func (c *byteCount) Write(data []byte) (int, error) {
	*c += byteCount(len(data))
	return len(data), nil
}
