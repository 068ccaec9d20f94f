package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// parts are the encoded documents of a commit beside its run. They are encoded once, for all attempts.
type parts struct {
	nodes  []stored
	events []any
	keys   []any
}

func encodeParts(commit *record.Commit) (parts, error) {
	var p parts
	for i := range commit.Nodes {
		node := &commit.Nodes[i]
		id := agentID(commit.Run.ID, node.Node)
		raw, err := encode("the record of node "+node.Node, nodeDocument{ID: id, RunNode: *node})
		if err != nil {
			return parts{}, err
		}
		p.nodes = append(p.nodes, stored{id, raw})
	}
	for i := range commit.Events {
		event := &commit.Events[i]
		raw, err := encode(fmt.Sprintf("event %d", event.Seq), eventDocument{ID: eventID(commit.Run.ID, event.Seq), Event: *event})
		if err != nil {
			return parts{}, err
		}
		p.events = append(p.events, raw)
	}
	var err error
	p.keys, err = encodeKeys(commit.Idempotency)
	return p, err
}

// write adds the parts in a transaction. A key that is there already is errRefused.
func (s *Store) write(ctx context.Context, p parts) error {
	if len(p.keys) > 0 {
		if _, err := s.keys.InsertMany(ctx, p.keys); duplicate(err) {
			return errRefused
		} else if err != nil {
			return fmt.Errorf("idempotency keys: %w", err)
		}
	}
	if len(p.nodes) > 0 {
		if err := s.put(ctx, s.agents, p.nodes); err != nil {
			return fmt.Errorf("node records: %w", err)
		}
	}
	if len(p.events) > 0 {
		if _, err := s.events.InsertMany(ctx, p.events); err != nil {
			return fmt.Errorf("events: %w", err)
		}
	}
	return nil
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, term int64, create record.Commit) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := s.create(ctx, term, create); err != nil {
		return fmt.Errorf("create run %s: %w", create.Run.ID, err)
	}
	return nil
}

func (s *Store) create(ctx context.Context, term int64, create record.Commit) error {
	run := create.Run
	run.Term, run.CommitID, run.Stamped = term, create.ID, false
	raw, err := encode("the run", runDocument{ID: run.ID, Run: run, InWork: true})
	if err != nil {
		return err
	}
	p, err := encodeParts(&create)
	if err != nil {
		return err
	}
	// New records need no look for old ones.
	agents := make([]any, len(p.nodes))
	for i, node := range p.nodes {
		agents[i] = node.raw
	}
	p.nodes = nil
	attempts := 0
	return s.settle(ctx, func() error {
		return s.fenced(ctx, func(ctx context.Context) error {
			attempts++
			if _, err := s.runs.InsertOne(ctx, raw); duplicate(err) {
				return errRefused
			} else if err != nil {
				return err
			}
			if len(agents) > 0 {
				if _, err := s.agents.InsertMany(ctx, agents); err != nil {
					return fmt.Errorf("node records: %w", err)
				}
			}
			if err := s.write(ctx, p); err != nil {
				return err
			}
			return s.fence(ctx, term)
		})
	}, func(ctx context.Context) error {
		used := s.used(ctx, create.Idempotency) // before place: see commit
		was, err := s.place(ctx, run.ID)
		if err == nil && was.CommitID == create.ID && attempts > 1 {
			return errLanded // by an attempt that was thought lost
		}
		if refusal := s.fenceOut(ctx, term); refusal != nil {
			return refusal
		}
		switch {
		case err == nil:
			return store.ErrExists
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		return used
	})
}

// place is what a run's writers must agree on.
type place struct {
	Term     int64      `json:"term"`
	Rev      int64      `json:"rev"`
	CommitID string     `json:"commit_id"`
	FinishTS *time.Time `json:"finish_ts"`
}

// place reads where a run is, as a majority knows it.
func (s *Store) place(ctx context.Context, runID string) (place, error) {
	var p place
	err := s.runs.FindOne(ctx, byID(runID), options.FindOne().SetProjection(bson.D{
		{Key: "term", Value: 1}, {Key: "rev", Value: 1}, {Key: "commit_id", Value: 1}, {Key: "finish_ts", Value: 1},
	})).Decode(&p)
	return p, explain(err)
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, term int64, commit record.Commit) error {
	ctx, cancel := bounded(ctx)
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
	p, err := encodeParts(&commit)
	if err != nil {
		return err
	}
	var after any // null finds what is not there
	if commit.After != "" {
		after = commit.After
	}
	filter := bson.D{{Key: "_id", Value: run.ID}, {Key: "term", Value: term}, {Key: "rev", Value: run.Rev - 1}, {Key: "commit_id", Value: after}}
	open := run.FinishTS == nil
	if open {
		filter = append(filter, bson.E{Key: "finish_ts", Value: nil})
	}
	reopens := false

	transact := s.transact
	if commit.Fence {
		transact = s.fenced
	}
	return s.settle(ctx, func() error {
		return transact(ctx, func(ctx context.Context) error {
			if result, err := s.runs.UpdateOne(ctx, filter, update); err != nil {
				return fmt.Errorf("the run: %w", err)
			} else if result.MatchedCount == 0 {
				return errRefused
			}
			if reopens {
				if err := s.unstamp(ctx, run.ID); err != nil {
					return err
				}
			}
			if err := s.write(ctx, p); err != nil {
				return err
			}
			if commit.Fence {
				return s.fence(ctx, term)
			}
			return nil
		})
	}, func(ctx context.Context) error {
		// A key is looked for before the run is: an earlier try that lands in between brings both.
		used := s.used(ctx, commit.Idempotency)
		was, err := s.place(ctx, run.ID)
		switch {
		case err != nil:
			return err
		case was.Term > term:
			return fmt.Errorf("%w: term %d has claimed the run, this is %d", store.ErrStaleTerm, was.Term, term)
		case was.CommitID == commit.ID:
			return errLanded
		}
		if commit.Fence {
			if err := s.fenceOut(ctx, term); err != nil {
				return err
			}
		}
		if was.Term != term || was.Rev != run.Rev-1 || was.CommitID != commit.After {
			return fmt.Errorf("%w: it is at revision %d of term %d after commit %q, not at %d of %d after %q", store.ErrConflict,
				was.Rev, was.Term, was.CommitID, run.Rev-1, term, commit.After)
		}
		if open && was.FinishTS != nil && !reopens {
			reopens, filter = true, filter[:len(filter)-1]
			return nil
		}
		return used
	})
}

// Claim implements store.Store.
func (s *Store) Claim(ctx context.Context, term int64, runID string) (record.Run, []record.RunNode, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var run record.Run
	var nodes []record.RunNode
	err := s.settle(ctx, func() (err error) {
		run, nodes, err = s.claim(ctx, term, runID)
		return err
	}, func(ctx context.Context) error {
		was, err := s.place(ctx, runID)
		if err == nil && was.Term > term {
			err = fmt.Errorf("%w: term %d has claimed it, this is %d", store.ErrStaleTerm, was.Term, term)
		}
		return err
	})
	if err != nil {
		return record.Run{}, nil, fmt.Errorf("claim run %s: %w", runID, err)
	}
	return run, nodes, nil
}

func (s *Store) claim(ctx context.Context, term int64, runID string) (record.Run, []record.RunNode, error) {
	var run record.Run
	var nodes []record.RunNode
	err := s.insist(ctx, func(ctx context.Context) error {
		var doc runDocument
		err := s.runs.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: runID}, {Key: "term", Value: bson.D{{Key: "$lte", Value: term}}}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "term", Value: term}}}, {Key: "$inc", Value: bson.D{{Key: "rev", Value: 1}}}},
			options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&doc)
		if errors.Is(err, mongo.ErrNoDocuments) {
			return errRefused
		}
		if err != nil {
			return err
		}
		run = doc.Run
		nodes, err = s.nodesOf(ctx, runID)
		return err
	}, func(attempt int) {
		if attempt%4 == 0 { // something of an earlier leader may be in the way
			s.mu.Lock()
			rivals := s.rivals
			s.mu.Unlock()
			s.killRivals(ctx, rivals)
		}
	})
	return run, nodes, err
}

// nodesOf reads all node records of a run, by node.
func (s *Store) nodesOf(ctx context.Context, runID string) ([]record.RunNode, error) {
	cursor, err := s.agents.Find(ctx, bson.D{ofRun(runID, "")}, options.Find().SetSort(byID(1)))
	if err != nil {
		return nil, err
	}
	var nodes []record.RunNode
	err = cursor.All(ctx, &nodes)
	return nodes, err
}
