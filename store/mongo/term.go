package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	// termsID is the _id of the terms record.
	termsID = "terms"
	// barrierID is the _id of a document beside it that no transaction changes: see linearized.
	barrierID = "barrier"
	// leadersKept is how many leaders' sessions the terms record lists.
	leadersKept = 4
	// beginTermTimeout bounds one attempt to begin a term: what blocks it is killed before the next.
	beginTermTimeout = time.Second
)

// Term implements store.Store.
func (s *Store) Term(ctx context.Context) (record.Term, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	var doc termDocument
	err := s.linearized(ctx, func(ctx context.Context) (err error) {
		doc, err = s.readTerms(ctx)
		return err
	})
	if err != nil {
		return record.Term{}, fmt.Errorf("read the terms record: %w", err)
	}
	return doc.Term, nil
}

// Ping implements store.Store. Unlike Term, which writes so that it cannot read from a primary that has been replaced, it only
// reads.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if _, err := s.readTerms(ctx); err != nil {
		return fmt.Errorf("read the terms record: %w", err)
	}
	return nil
}

// readTerms reads the terms record as a majority has it.
func (s *Store) readTerms(ctx context.Context) (termDocument, error) {
	var doc termDocument
	err := s.terms.FindOne(ctx, byID(termsID)).Decode(&doc)
	return doc, translate(err)
}

// BeginTerm implements store.Store. It kills the server sessions of earlier leaders, which ends their transactions, and
// publishes its own before any transaction runs on them.
func (s *Store) BeginTerm(ctx context.Context, floor int64) (record.Term, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	own, err := newSessions(s.client)
	if err != nil {
		return record.Term{}, fmt.Errorf("begin a term: %w", err)
	}
	tries := backoff()
	for {
		term, earlier, err := s.beginTerm(ctx, floor, own.ids)
		if err == nil {
			s.mu.Lock()
			s.retired, s.sessions, s.earlier = append(s.retired, s.sessions), own, earlier
			s.mu.Unlock()
			return term, nil
		}
		if ctx.Err() != nil || !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrConflict) || !tries.Wait(ctx) {
			return record.Term{}, fmt.Errorf("begin a term: %w", err)
		}
	}
}

// beginTerm tries once. It returns the sessions of earlier leaders too.
func (s *Store) beginTerm(ctx context.Context, floor int64, own []sessionID) (record.Term, []sessionID, error) {
	doc, err := s.readTerms(ctx)
	if err != nil {
		return record.Term{}, nil, err
	}
	if doc.Schema > schemaVersion {
		return record.Term{}, nil, newerSchema(doc.Schema)
	}
	next, err := store.NextTerm(doc.Term, floor)
	if err != nil {
		return record.Term{}, nil, err
	}
	var earlier []sessionID
	for _, leader := range doc.Leaders {
		earlier = append(earlier, leader.Sessions...)
	}
	s.killEarlier(ctx, earlier)

	term := doc.Term
	term.Term = next
	leaders := append(doc.Leaders, leaderSessions{Term: term.Term, Sessions: own})
	leaders = leaders[max(0, len(leaders)-leadersKept):]
	step, cancel := context.WithTimeout(ctx, beginTermTimeout)
	defer cancel()
	// A transaction of an earlier leader that changed the terms record blocks this update until it ends.
	result, err := s.terms.UpdateOne(step, bson.D{{Key: "_id", Value: termsID}, {Key: "term", Value: doc.Term.Term}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "term", Value: term.Term}, {Key: "leaders", Value: leaders}}}})
	if err != nil {
		return record.Term{}, nil, translate(err)
	}
	if result.MatchedCount == 0 {
		return record.Term{}, nil, fmt.Errorf("%w: another replica began a term at the same time", store.ErrConflict)
	}
	// Until now an earlier leader could begin a transaction that its fence did not refuse.
	s.killEarlier(ctx, earlier)
	return term, earlier, nil
}

// killEarlier kills the sessions of earlier leaders. Where that is refused, their transactions end by themselves after
// MongoDB's transactionLifetimeLimitSeconds (60).
func (s *Store) killEarlier(ctx context.Context, sessions []sessionID) {
	step, cancel := context.WithTimeout(ctx, beginTermTimeout)
	defer cancel()
	if err := s.killSessions(step, sessions); err != nil {
		s.log.Warn("cannot kill the sessions of an earlier leader; what they left open may block this leader for a minute: let all replicas use the same MongoDB user, or grant it killAnySession", "error", err)
	}
}
