package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	// termsID is the _id of the terms record.
	termsID = "terms"
	// barrierID is the _id of a document beside it that no transaction touches: see sure.
	barrierID = "barrier"
	// leadersKept is for how many earlier leaders the sessions are remembered.
	leadersKept = 4
	// leadStep bounds one attempt to begin a term: what holds it up is killed before the next.
	leadStep = time.Second
)

// Term implements store.Store.
func (s *Store) Term(ctx context.Context) (record.Term, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var doc termDocument
	err := s.sure(ctx, func(ctx context.Context) (err error) {
		doc, err = s.readTerms(ctx)
		return err
	})
	if err != nil {
		return record.Term{}, fmt.Errorf("read the terms record: %w", err)
	}
	return doc.Term, nil
}

// sure has read see everything that was acknowledged before. A write that a majority has journaled proves that its server
// is the primary, and a causally consistent session then reads nothing older. (Read concern linearizable does the same
// for one document, but waits for the next periodic flush of the journal, up to 100 ms.)
func (s *Store) sure(ctx context.Context, read func(ctx context.Context) error) error {
	return s.client.UseSession(ctx, func(ctx context.Context) error {
		_, err := s.terms.UpdateOne(ctx, byID(barrierID), bson.D{{Key: "$inc", Value: bson.D{{Key: "reads", Value: 1}}}})
		if err != nil {
			return explain(err)
		}
		return read(ctx)
	})
}

// readTerms reads the terms record as a majority knows it.
func (s *Store) readTerms(ctx context.Context) (termDocument, error) {
	var doc termDocument
	err := s.terms.FindOne(ctx, byID(termsID)).Decode(&doc)
	return doc, explain(err)
}

// BeginTerm implements store.Store. It kills the server sessions of the leaders before, which ends their transactions, and
// publishes its own before any transaction runs on them.
func (s *Store) BeginTerm(ctx context.Context, floor int64) (record.Term, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	own, err := newWriters(s.client)
	if err != nil {
		return record.Term{}, fmt.Errorf("begin a term: %w", err)
	}
	tries := backoff()
	for {
		term, rivals, err := s.lead(ctx, floor, own.ids)
		if err == nil {
			s.mu.Lock()
			s.retired, s.writers, s.rivals = append(s.retired, s.writers), own, rivals
			s.mu.Unlock()
			return term, nil
		}
		if ctx.Err() != nil || !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrConflict) || !tries.Wait(ctx) {
			return record.Term{}, fmt.Errorf("begin a term: %w", err)
		}
	}
}

func (s *Store) lead(ctx context.Context, floor int64, own []lsid) (record.Term, []lsid, error) {
	doc, err := s.readTerms(ctx)
	if err != nil {
		return record.Term{}, nil, err
	}
	if doc.Schema > schemaVersion {
		return record.Term{}, nil, newerSchema(doc.Schema)
	}
	var rivals []lsid
	for _, leader := range doc.Leaders {
		rivals = append(rivals, leader.Sessions...)
	}
	s.killRivals(ctx, rivals)

	term := record.Term{Term: max(doc.Term.Term, floor) + 1, Installation: doc.Installation, Schema: doc.Schema}
	leaders := append(doc.Leaders, leaderSessions{Term: term.Term, Sessions: own})
	leaders = leaders[max(0, len(leaders)-leadersKept):]
	step, cancel := context.WithTimeout(ctx, leadStep)
	defer cancel()
	// A transaction of an earlier leader that changed the terms record holds this up until it ends.
	result, err := s.terms.UpdateOne(step, bson.D{{Key: "_id", Value: termsID}, {Key: "term", Value: doc.Term.Term}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "term", Value: term.Term}, {Key: "leaders", Value: leaders}}}})
	if err != nil {
		return record.Term{}, nil, explain(err)
	}
	if result.MatchedCount == 0 {
		return record.Term{}, nil, fmt.Errorf("%w: another replica began a term at the same time", store.ErrConflict)
	}
	// Until now an earlier leader could begin a transaction that its fence did not refuse.
	s.killRivals(ctx, rivals)
	return term, rivals, nil
}

// killRivals ends what earlier leaders have open. Where that is refused, their transactions end by themselves after
// MongoDB's transactionLifetimeLimitSeconds (60).
func (s *Store) killRivals(ctx context.Context, rivals []lsid) {
	step, cancel := context.WithTimeout(ctx, leadStep)
	defer cancel()
	if err := s.kill(step, rivals); err != nil {
		s.log.Warn("what an earlier leader left open in MongoDB may hold up this one for a minute: let all replicas use the same MongoDB user, or grant it killAnySession", "error", err)
	}
}

// fence refuses the transaction unless term is the latest, and makes it conflict with whatever begins another one.
func (s *Store) fence(ctx context.Context, term int64) error {
	result, err := s.terms.UpdateOne(ctx, bson.D{{Key: "_id", Value: termsID}, {Key: "term", Value: term}},
		bson.D{{Key: "$inc", Value: bson.D{{Key: "fences", Value: 1}}}})
	if err == nil && result.MatchedCount == 0 {
		err = errRefused
	}
	return err
}

var (
	// errRefused ends a transaction in which something was not as its writer thought.
	errRefused = errors.New("refused")
	// errLanded is the reason of a refusal where the very same write has landed before.
	errLanded = errors.New("landed before")
)

// settle repeats write while it is refused for no reason that why can still see. What why reads is not older than what
// write was refused for, also where another server has become primary since.
func (s *Store) settle(ctx context.Context, write func() error, why func(ctx context.Context) error) error {
	tries := backoff()
	for {
		err := write()
		if !errors.Is(err, errRefused) {
			return err
		}
		if reason := s.sure(ctx, why); errors.Is(reason, errLanded) {
			return nil
		} else if reason != nil {
			return reason
		}
		if !tries.Wait(ctx) {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
	}
}

// fenceOut says why the terms record refused term; nil if it does not any more.
func (s *Store) fenceOut(ctx context.Context, term int64) error {
	doc, err := s.readTerms(ctx)
	switch {
	case err != nil:
		return err
	case doc.Term.Term > term:
		return fmt.Errorf("%w: term %d has begun, this is %d", store.ErrStaleTerm, doc.Term.Term, term)
	case doc.Term.Term < term:
		return fmt.Errorf("%w: the latest term is %d, this is %d", store.ErrConflict, doc.Term.Term, term)
	}
	return nil
}

// fenced runs body in a transaction, one at a time in this process.
func (s *Store) fenced(ctx context.Context, body func(ctx context.Context) error) error {
	select {
	case s.fencing <- struct{}{}:
		defer func() { <-s.fencing }()
	case <-ctx.Done():
		return fmt.Errorf("%w: waiting for another fenced write: %w", store.ErrUnavailable, ctx.Err())
	}
	return s.transact(ctx, body)
}

// duplicate tells whether something with the same key was there.
func duplicate(err error) bool { return mongo.IsDuplicateKeyError(err) }
