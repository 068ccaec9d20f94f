package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// unread is an answer whose client accepts nothing: a write is blocked until its deadline is set.
type unread struct {
	*httptest.ResponseRecorder
	cut chan struct{}
}

func (u *unread) SetWriteDeadline(time.Time) error {
	close(u.cut)
	return nil
}

func TestAnAnswerThatIsNotReadGivesItsPlaceToAReadThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bound := readBound{places: make(places, maxReads)}
		for range maxReads {
			answer := &unread{httptest.NewRecorder(), make(chan struct{})}
			taken := bound.take(t.Context(), http.NewResponseController(answer))
			go func() {
				<-answer.cut
				bound.leave(taken)
			}()
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*maxReads*unreadTimeout)
		defer cancel()
		for range maxReads { // and each that waits gets the place of another one
			answer := bound.take(ctx, http.NewResponseController(httptest.NewRecorder()))
			if answer == nil {
				t.Fatal("no place")
			}
			defer bound.leave(answer)
			if time.Since(began) < unreadTimeout {
				t.Fatal("an answer was cut off at once")
			}
		}
	})
}
