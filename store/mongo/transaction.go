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
	// commitTimeout is how long the driver may take for one attempt to commit.
	commitTimeout = 5 * time.Second
	// abortTimeout is how long it may take for an abort.
	abortTimeout = 2 * time.Second
)

// backoff spaces the tries of what another transaction or the loss of a server prevented.
func backoff() *retry.Backoff { return retry.New(2*time.Millisecond, 100*time.Millisecond) }

// transact runs body in a transaction until that is committed, body fails for good, or ctx ends. body may run several
// times, each time on what is stored then; it must return every error of the database, and must use its context.
//
// Where ctx ends during a commit, the caller gets ErrUnavailable and the commit may be applied: a goroutine waits for its
// end, keeps the session until then, and is waited for by Close.
func (s *Store) transact(ctx context.Context, body func(ctx context.Context) error) error {
	return s.transactNotifying(ctx, body, func(int) {})
}

// transactNotifying is transact. It calls retrying before each further attempt, with the number of attempts that failed.
func (s *Store) transactNotifying(ctx context.Context, body func(ctx context.Context) error, retrying func(attempts int)) error {
	session, release, err := s.takeSession(ctx)
	if err != nil {
		return err
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
				go s.endTransaction(context.WithoutCancel(ctx), session, release)
				return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
			case !retryable(err):
				abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
				_ = session.AbortTransaction(abort)
				cancel()
				release()
				return translate(err)
			}
			// The server has aborted the transaction, or will when the session's next one starts.
			abortLocally(ctx, session)
		} else {
			ended := make(chan error, 1)
			go s.finishCommit(context.WithoutCancel(ctx), session, ended)
			select {
			case err = <-ended:
				if err == nil || !retryable(err) {
					release()
					return translate(err)
				}
			case <-ctx.Done():
				go func() {
					<-ended
					release()
				}()
				return fmt.Errorf("%w: no answer to the commit of a transaction: %w", store.ErrUnavailable, ctx.Err())
			}
		}
		retrying(attempt)
		if !tries.Wait(ctx) {
			go s.endTransaction(context.WithoutCancel(ctx), session, release)
			return fmt.Errorf("%w: %w: %w", store.ErrUnavailable, ctx.Err(), err)
		}
	}
}

// takeSession waits for a session of the latest term. Close waits until release is called.
func (s *Store) takeSession(ctx context.Context) (session *mongo.Session, release func(), err error) {
	s.mu.Lock()
	if s.closed() {
		s.mu.Unlock()
		return nil, nil, fmt.Errorf("%w: the store is closed", store.ErrUnavailable)
	}
	sessions := s.sessions
	s.transactions.Add(1)
	s.mu.Unlock()
	select {
	case session = <-sessions.free:
	case <-ctx.Done():
		s.transactions.Done()
		return nil, nil, fmt.Errorf("%w: waiting for other transactions: %w", store.ErrUnavailable, ctx.Err())
	}
	return session, func() {
		sessions.free <- session
		s.transactions.Done()
	}, nil
}

// retryable reports whether a transaction that failed with err may be run again, from its start. Each finds by the ID of its commit
// whether an earlier try was stored.
func retryable(err error) bool {
	return hasLabel(err, labelTransient) || hasCode(err, codeInterrupted) || hasCode(err, codeNoSuchTransaction)
}

// abortLocally ends the transaction for the driver, without telling the server.
func abortLocally(ctx context.Context, session *mongo.Session) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_ = session.AbortTransaction(ended)
}

// finishCommit commits, and repeats that until the result is known or the store closes.
func (s *Store) finishCommit(ctx context.Context, session *mongo.Session, ended chan<- error) {
	tries := backoff()
	for {
		commit, cancel := context.WithTimeout(ctx, commitTimeout)
		err := session.CommitTransaction(commit)
		cancel()
		if err == nil || !(hasLabel(err, labelUnknown) || mongo.IsTimeout(err)) || s.closed() {
			ended <- err
			return
		}
		tries.Wait(ctx)
	}
}

// endTransaction makes sure that no transaction stays open on the session of one that was abandoned during a statement. An
// abort alone could overtake the statement, which would then begin the transaction again. A later transaction of the same
// session ends the earlier one, and its late statements are then refused.
func (s *Store) endTransaction(ctx context.Context, session *mongo.Session, release func()) {
	defer release()
	abortLocally(ctx, session)
	tries := backoff()
	for !s.closed() {
		if err := session.StartTransaction(); err != nil {
			s.log.Error("a session cannot be used again", "error", err)
			return
		}
		step, cancel := context.WithTimeout(ctx, abortTimeout)
		err := s.terms.FindOne(mongo.NewSessionContext(step, session), byID(termsID)).Err()
		if err == nil || errors.Is(err, mongo.ErrNoDocuments) {
			_ = session.AbortTransaction(step)
			cancel()
			return
		}
		cancel()
		abortLocally(ctx, session)
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
