package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
)

// killEvery is after how many failed attempts a claim kills the sessions of earlier leaders again.
const killEvery = 4

// Claim implements store.Store.
func (s *Store) Claim(ctx context.Context, term int64, runID string) (record.Run, []record.RunNode, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	var run record.Run
	var nodes []record.RunNode
	err := s.writeOrExplain(ctx, func() (err error) {
		run, nodes, err = s.claim(ctx, term, runID)
		return err
	}, s.explainTerm(term, runID))
	if err != nil {
		return record.Run{}, nil, fmt.Errorf("claim run %s: %w", runID, err)
	}
	return run, nodes, nil
}

// upTo selects a run that no later term has claimed.
func upTo(term int64, runID string) bson.D {
	return bson.D{{Key: "_id", Value: runID}, {Key: "term", Value: bson.D{{Key: "$lte", Value: term}}}}
}

// explainTerm is why upTo does not select the run; nil if it does.
func (s *Store) explainTerm(term int64, runID string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		stored, err := s.runVersion(ctx, runID)
		if err == nil && stored.Term > term {
			err = staleTerm(stored, term)
		}
		return err
	}
}

// SetWaiting implements store.Store.
func (s *Store) SetWaiting(ctx context.Context, term int64, runID string, wait record.Wait) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	err := s.setWaiting(ctx, term, runID, wait)
	if err != nil {
		return fmt.Errorf("record what run %s waits for: %w", runID, err)
	}
	return nil
}

func (s *Store) setWaiting(ctx context.Context, term int64, runID string, wait record.Wait) error {
	raw, err := encode("what run "+runID+" waits for", wait)
	if err != nil {
		return err
	}
	return s.writeOrExplain(ctx, func() error {
		return s.transact(ctx, func(ctx context.Context) error {
			result, err := s.runs.UpdateOne(ctx, upTo(term, runID), bson.D{{Key: "$set", Value: bson.D{{Key: "waiting", Value: raw}}}})
			if err == nil && result.MatchedCount == 0 {
				err = errRefused
			}
			return err
		})
	}, s.explainTerm(term, runID))
}

func (s *Store) claim(ctx context.Context, term int64, runID string) (record.Run, []record.RunNode, error) {
	var run record.Run
	var nodes []record.RunNode
	err := s.transactNotifying(ctx, func(ctx context.Context) error {
		var doc runDocument
		err := s.runs.FindOneAndUpdate(ctx, upTo(term, runID),
			bson.D{{Key: "$set", Value: bson.D{{Key: "term", Value: term}}}, {Key: "$inc", Value: bson.D{{Key: "rev", Value: 1}}}},
			options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&doc)
		if errors.Is(err, mongo.ErrNoDocuments) {
			return errRefused
		}
		if err != nil {
			return err
		}
		run = doc.Run
		nodes, err = s.allRunNodes(ctx, runID)
		return err
	}, func(attempts int) {
		if attempts%killEvery == 0 { // something of an earlier leader may block it
			s.mu.Lock()
			earlier := s.earlier
			s.mu.Unlock()
			s.killEarlier(ctx, earlier)
		}
	})
	return run, nodes, err
}

// allRunNodes reads all node records of a run, by node.
func (s *Store) allRunNodes(ctx context.Context, runID string) ([]record.RunNode, error) {
	cursor, err := s.agents.Find(ctx, bson.D{belongsTo(runID, "")}, options.Find().SetSort(byID(1)))
	if err != nil {
		return nil, err
	}
	var nodes []record.RunNode
	err = cursor.All(ctx, &nodes)
	return nodes, err
}
