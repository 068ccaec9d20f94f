package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/store"
)

const (
	// commitStep is how long the driver may take over one attempt to commit.
	commitStep = 5 * time.Second
	// abortStep is how long it may take over an abort.
	abortStep = 2 * time.Second
)

// transact runs body in a transaction until that is committed, body fails for good, or ctx ends. body may run several
// times, each time on what is stored then; it must return every error of the database, and must use its context.
//
// The end of a commit is waited for even after ctx has ended, by a goroutine that keeps the session until then: the
// caller gets ErrUnavailable, and the commit may land.
func (s *Store) transact(ctx context.Context, body func(ctx context.Context) error) error {
	return s.insist(ctx, body, nil)
}

// insist is transact; blocked is called after each attempt that was in the way of another transaction or lost its server.
func (s *Store) insist(ctx context.Context, body func(ctx context.Context) error, blocked func(attempt int)) error {
	s.mu.Lock()
	w := s.writers
	select {
	case <-s.closing:
		s.mu.Unlock()
		return fmt.Errorf("%w: the store is closed", store.ErrUnavailable)
	default:
	}
	s.pending.Add(1)
	s.mu.Unlock()
	var session *mongo.Session
	select {
	case session = <-w.free:
	case <-ctx.Done():
		s.pending.Done()
		return fmt.Errorf("%w: waiting for other transactions: %w", store.ErrUnavailable, ctx.Err())
	}
	release := func() {
		w.free <- session
		s.pending.Done()
	}

	tries := backoff()
	for attempt := 1; ; attempt++ {
		if err := session.StartTransaction(); err != nil {
			release()
			return fmt.Errorf("start a transaction: %w", err)
		}
		err := body(mongo.NewSessionContext(ctx, session))
		if err != nil {
			switch {
			case ctx.Err() != nil || mongo.IsTimeout(err):
				go s.clear(context.WithoutCancel(ctx), session, release)
				return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
			case !again(err):
				step, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortStep)
				_ = session.AbortTransaction(step)
				cancel()
				release()
				return explain(err)
			}
			// The server has given the transaction up, or will when the session's next one starts.
			ended, cancel := context.WithCancel(ctx)
			cancel()
			_ = session.AbortTransaction(ended)
		} else {
			ended := make(chan error, 1)
			go s.finish(context.WithoutCancel(ctx), session, ended)
			select {
			case err = <-ended:
				if err == nil || !again(err) {
					release()
					return explain(err)
				}
			case <-ctx.Done():
				go func() {
					<-ended
					release()
				}()
				return fmt.Errorf("%w: the end of a transaction was not told in time: %w", store.ErrUnavailable, ctx.Err())
			}
		}
		if blocked != nil {
			blocked(attempt)
		}
		if !tries.Wait(ctx) {
			go s.clear(context.WithoutCancel(ctx), session, release)
			return fmt.Errorf("%w: %w: %w", store.ErrUnavailable, ctx.Err(), err)
		}
	}
}

// again tells whether a transaction that ended so may be run once more, from its start.
func again(err error) bool { return hasLabel(err, labelTransient) || hasCode(err, codeInterrupted) }

// finish commits, and asks until it knows whether that has happened or the store closes.
func (s *Store) finish(ctx context.Context, session *mongo.Session, ended chan<- error) {
	tries := backoff()
	for {
		step, cancel := context.WithTimeout(ctx, commitStep)
		err := session.CommitTransaction(step)
		cancel()
		if err == nil || !(hasLabel(err, labelUnknown) || mongo.IsTimeout(err)) || s.closed() {
			ended <- err
			return
		}
		tries.Wait(ctx)
	}
}

// clear makes sure that nothing stays open on the session of a transaction that was given up while a statement was on
// its way: an abort might overtake the statement, which would then begin the transaction again. A later transaction of
// the same session ends an earlier one, and has what comes of it afterwards refused.
func (s *Store) clear(ctx context.Context, session *mongo.Session, release func()) {
	defer release()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_ = session.AbortTransaction(ended)
	tries := backoff()
	for !s.closed() {
		if err := session.StartTransaction(); err != nil {
			s.log.Error("a session cannot be used again", "error", err)
			return
		}
		step, cancel := context.WithTimeout(ctx, abortStep)
		err := s.terms.FindOne(mongo.NewSessionContext(step, session), byID(termsID)).Err()
		if err == nil || errors.Is(err, mongo.ErrNoDocuments) {
			_ = session.AbortTransaction(step)
			cancel()
			return
		}
		cancel()
		_ = session.AbortTransaction(ended)
		tries.Wait(ctx)
	}
}

func (s *Store) closed() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// backoff spaces the tries of what another transaction or the loss of a server was in the way of.
func backoff() *retry.Backoff { return retry.New(2*time.Millisecond, 100*time.Millisecond) }
