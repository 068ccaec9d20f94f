package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/store"
)

var (
	// errRefused ends a transaction that found a record in another state than its writer expected.
	errRefused = errors.New("refused")
	// errAlreadyApplied explains a refusal: the very same write has been applied before.
	errAlreadyApplied = errors.New("already applied")
)

// writeOrExplain runs write until it is not refused (errRefused), or explain knows why it is. What explain reads is not older
// than what write was refused for, even where another server has become primary since. explain returns nil where it finds no
// reason any more; write is then repeated.
func (s *Store) writeOrExplain(ctx context.Context, write func() error, explain func(ctx context.Context) error) error {
	tries := backoff()
	for {
		err := write()
		if !errors.Is(err, errRefused) {
			return err
		}
		if reason := s.linearized(ctx, explain); errors.Is(reason, errAlreadyApplied) {
			return nil
		} else if reason != nil {
			return reason
		}
		if !tries.Wait(ctx) {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
	}
}

// linearized makes read see everything that was acknowledged before. A write that a majority has journaled proves that its
// server is the primary, and a causally consistent session then reads nothing older. (Read concern linearizable does the same
// for one document, but waits for the next periodic flush of the journal, up to 100 ms.)
func (s *Store) linearized(ctx context.Context, read func(ctx context.Context) error) error {
	return s.client.UseSession(ctx, func(ctx context.Context) error {
		_, err := s.terms.UpdateOne(ctx, byID(barrierID), bson.D{{Key: "$inc", Value: bson.D{{Key: "reads", Value: 1}}}})
		if err != nil {
			return translate(err)
		}
		return read(ctx)
	})
}

// transactFenced runs body in a transaction, one at a time in this process.
func (s *Store) transactFenced(ctx context.Context, body func(ctx context.Context) error) error {
	select {
	case s.fencing <- struct{}{}:
		defer func() { <-s.fencing }()
	case <-ctx.Done():
		return fmt.Errorf("%w: waiting for another fenced write: %w", store.ErrUnavailable, ctx.Err())
	}
	return s.transact(ctx, body)
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

// requireLatest refuses the transaction unless term is the latest.
func (s *Store) requireLatest(ctx context.Context, term int64) error {
	err := s.terms.FindOne(ctx, bson.D{{Key: "_id", Value: termsID}, {Key: "term", Value: term}}, options.FindOne().SetProjection(byID(1))).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return errRefused
	}
	return err
}

// explainFence is why the terms record refused term; nil if it does not refuse it.
func (s *Store) explainFence(ctx context.Context, term int64) error {
	doc, err := s.readTerms(ctx)
	switch {
	case err != nil:
		return err
	case doc.Term.Term > term:
		return fmt.Errorf("%w: term %d has begun, this is term %d", store.ErrStaleTerm, doc.Term.Term, term)
	case doc.Term.Term < term:
		return fmt.Errorf("%w: the latest term is %d, this is term %d", store.ErrConflict, doc.Term.Term, term)
	}
	return nil
}

// duplicate reports whether something with the same key existed.
func duplicate(err error) bool { return mongo.IsDuplicateKeyError(err) }
