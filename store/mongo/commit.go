package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// encodedCommit has the documents of a commit beside its run. They are encoded once, for all attempts.
type encodedCommit struct {
	nodes  []encodedDocument
	events []any
	keys   []any
}

func encodeCommit(commit *record.Commit) (encodedCommit, error) {
	var encoded encodedCommit
	for i := range commit.Nodes {
		node := &commit.Nodes[i]
		id := runNodeID(commit.Run.ID, node.Node)
		raw, err := encode("the record of node "+node.Node, nodeDocument{ID: id, RunNode: *node})
		if err != nil {
			return encodedCommit{}, &store.RecordError{Node: node.Node, Err: err}
		}
		encoded.nodes = append(encoded.nodes, encodedDocument{id, raw})
	}
	for i := range commit.Events {
		event := &commit.Events[i]
		raw, err := encode(fmt.Sprintf("event %d", event.Seq), eventDocument{ID: eventID(commit.Run.ID, event.Seq), Event: *event})
		if err != nil && event.Node != "" {
			return encodedCommit{}, &store.RecordError{Node: event.Node, Err: err}
		}
		if err != nil {
			return encodedCommit{}, err
		}
		encoded.events = append(encoded.events, raw)
	}
	var err error
	encoded.keys, err = encodeKeys(commit.Idempotency)
	return encoded, err
}

// attribute names the node whose record the server does not take, where that can be told.
func attribute(err error, commit *record.Commit, encoded encodedCommit) error {
	if !errors.Is(err, store.ErrNotStorable) || errors.As(err, new(*store.RecordError)) {
		return err
	}
	for i, doc := range encoded.nodes {
		if len(encoded.nodes) == 1 || nesting(doc.raw) > maxNesting {
			return &store.RecordError{Node: commit.Nodes[i].Node, Err: err}
		}
	}
	return err
}

// writeParts writes what a commit has beside its run, in a transaction.
func (s *Store) writeParts(ctx context.Context, encoded encodedCommit) error {
	if err := s.insertKeys(ctx, encoded.keys); err != nil {
		return err
	}
	if len(encoded.nodes) > 0 {
		if err := s.upsert(ctx, s.agents, encoded.nodes); err != nil {
			return fmt.Errorf("node records: %w", err)
		}
	}
	if len(encoded.events) > 0 {
		if _, err := s.events.InsertMany(ctx, encoded.events); err != nil {
			return fmt.Errorf("events: %w", err)
		}
	}
	return nil
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, term int64, create record.Commit) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if err := s.create(ctx, term, create); err != nil {
		return fmt.Errorf("create run %s: %w", create.Run.ID, err)
	}
	return nil
}

func (s *Store) create(ctx context.Context, term int64, create record.Commit) error {
	run := create.Run
	run.Term, run.CommitID, run.Stamped = term, create.ID, false
	raw, err := encode("the run", runDocument{ID: run.ID, Run: run, IsOpen: true})
	if err != nil {
		return err
	}
	encoded, err := encodeCommit(&create)
	if err != nil {
		return err
	}
	// No node record exists yet: a plain insert does.
	nodes := make([]any, len(encoded.nodes))
	for i, node := range encoded.nodes {
		nodes[i] = node.raw
	}
	encoded.nodes = nil
	attempts := 0
	return s.writeOrExplain(ctx, func() error {
		return s.transactFenced(ctx, func(ctx context.Context) error {
			attempts++
			if _, err := s.runs.InsertOne(ctx, raw); duplicate(err) {
				return errRefused
			} else if err != nil {
				return err
			}
			if len(nodes) > 0 {
				if _, err := s.agents.InsertMany(ctx, nodes); err != nil {
					return fmt.Errorf("node records: %w", err)
				}
			}
			if err := s.writeParts(ctx, encoded); err != nil {
				return err
			}
			return s.fence(ctx, term)
		})
	}, func(ctx context.Context) error {
		keyErr := s.explainKeys(ctx, create.Idempotency) // before the run is read: see commit
		stored, err := s.runVersion(ctx, run.ID)
		if err == nil && stored.CommitID == create.ID && attempts > 1 {
			return errAlreadyApplied // by an earlier attempt of this call, which got no answer
		}
		if refusal := s.explainFence(ctx, term); refusal != nil {
			return refusal
		}
		switch {
		case err == nil:
			return store.ErrExists
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		return keyErr
	})
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, term int64, commit record.Commit) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if err := s.commit(ctx, term, commit); err != nil {
		return fmt.Errorf("commit %s of run %s: %w", commit.ID, commit.Run.ID, err)
	}
	return nil
}

func (s *Store) commit(ctx context.Context, term int64, commit record.Commit) error {
	run := commit.Run
	run.Term, run.CommitID = term, commit.ID
	update, err := runUpdate(run)
	if err != nil {
		return err
	}
	encoded, err := encodeCommit(&commit)
	if err != nil {
		return err
	}
	var after any // null matches an absent field
	if commit.After != "" {
		after = commit.After
	}
	decidedOn := bson.D{{Key: "_id", Value: run.ID}, {Key: "term", Value: term}, {Key: "rev", Value: run.Rev - 1}, {Key: "commit_id", Value: after}}
	filter := decidedOn
	if run.FinishTS == nil { // refused at first if the commit reopens the run, which is rare
		filter = append(filter, bson.E{Key: "finish_ts", Value: nil})
	}
	reopens := false

	transact := s.transact
	if commit.Fence {
		transact = s.transactFenced
	}
	err = s.writeOrExplain(ctx, func() error {
		return transact(ctx, func(ctx context.Context) error {
			if result, err := s.runs.UpdateOne(ctx, filter, update); err != nil {
				return fmt.Errorf("the run: %w", err)
			} else if result.MatchedCount == 0 {
				return errRefused
			}
			if reopens {
				if err := s.removeStamps(ctx, run.ID); err != nil {
					return err
				}
			}
			if err := s.writeParts(ctx, encoded); err != nil {
				return err
			}
			if commit.Fence {
				return s.fence(ctx, term)
			}
			return nil
		})
	}, func(ctx context.Context) error {
		// The keys are read before the run: an earlier attempt that is applied in between writes both.
		keyErr := s.explainKeys(ctx, commit.Idempotency)
		stored, err := s.explainVersion(ctx, term, commit)
		switch {
		case err != nil:
			return err
		case stored.FinishTS != nil && run.FinishTS == nil && !reopens:
			reopens, filter = true, decidedOn
			return nil
		}
		return keyErr
	})
	return attribute(err, &commit, encoded)
}

// explainVersion is why the run does not take the commit; nil if it does. It returns the version of the run too.
func (s *Store) explainVersion(ctx context.Context, term int64, commit record.Commit) (runVersion, error) {
	stored, err := s.runVersion(ctx, commit.Run.ID)
	switch {
	case err != nil:
		return stored, err
	case stored.Term > term:
		return stored, staleTerm(stored, term)
	case stored.CommitID == commit.ID:
		return stored, errAlreadyApplied
	}
	if commit.Fence {
		if err := s.explainFence(ctx, term); err != nil {
			return stored, err
		}
	}
	if stored.Term != term || stored.Rev != commit.Run.Rev-1 || stored.CommitID != commit.After {
		return stored, fmt.Errorf("%w: it is at revision %d of term %d after commit %q, not at %d of %d after %q", store.ErrConflict,
			stored.Rev, stored.Term, stored.CommitID, commit.Run.Rev-1, term, commit.After)
	}
	return stored, nil
}

// runVersion is what the writers of a run must agree on.
type runVersion struct {
	Term     int64      `json:"term"`
	Rev      int64      `json:"rev"`
	CommitID string     `json:"commit_id"`
	FinishTS *time.Time `json:"finish_ts"`
}

// runVersion reads the version of a run as a majority has it.
func (s *Store) runVersion(ctx context.Context, runID string) (runVersion, error) {
	var version runVersion
	err := s.runs.FindOne(ctx, byID(runID), options.FindOne().SetProjection(bson.D{
		{Key: "term", Value: 1}, {Key: "rev", Value: 1}, {Key: "commit_id", Value: 1}, {Key: "finish_ts", Value: 1},
	})).Decode(&version)
	return version, translate(err)
}

// staleTerm is the error of a write of an earlier term than the one that has claimed the run.
func staleTerm(stored runVersion, term int64) error {
	return fmt.Errorf("%w: term %d has claimed the run, this is term %d", store.ErrStaleTerm, stored.Term, term)
}
