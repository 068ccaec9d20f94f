package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// newestFirst orders revisions.
var newestFirst = bson.D{{Key: "name", Value: 1}, {Key: "revision", Value: -1}}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, term int64, documents record.Documents, key *record.IdempotencyRecord, answer func(record.Documents) string) (record.Documents, error) {
	var applied record.Documents
	err := s.writeFenced(ctx, term, func(ctx context.Context) (err error) {
		if applied, err = s.applyAll(ctx, documents); err != nil {
			return err
		}
		docs, err := encodeKeys(store.AppliedKey(key, answer, applied))
		if err != nil {
			return err
		}
		return s.insertKeys(ctx, docs)
	}, func(ctx context.Context) error { // where it is not the key, another write has stored the same revision
		return s.explainKeys(ctx, store.KeyList(key))
	})
	if err != nil {
		return record.Documents{}, fmt.Errorf("apply documents: %w", err)
	}
	return applied, nil
}

// applyAll stores documents in a transaction, and returns them as they are stored then.
func (s *Store) applyAll(ctx context.Context, documents record.Documents) (applied record.Documents, err error) {
	for _, playbook := range documents.Playbooks {
		stored, err := s.applyPlaybook(ctx, playbook)
		if err != nil {
			return applied, fmt.Errorf("playbook %s: %w", playbook.Name, err)
		}
		applied.Playbooks = append(applied.Playbooks, stored)
	}
	for _, schedule := range documents.Schedules {
		stored, err := applyNamed(ctx, s.schedules, schedule.Name, schedule, store.NextSchedule, newScheduleDocument)
		if err != nil {
			return applied, fmt.Errorf("schedule %s: %w", schedule.Name, err)
		}
		applied.Schedules = append(applied.Schedules, stored)
	}
	for _, freeze := range documents.Freezes {
		stored, err := applyNamed(ctx, s.freezes, freeze.Name, freeze, store.NextFreeze, newFreezeDocument)
		if err != nil {
			return applied, fmt.Errorf("freeze %s: %w", freeze.Name, err)
		}
		applied.Freezes = append(applied.Freezes, stored)
	}
	return applied, nil
}

// applyPlaybook stores playbook as the next revision of its name, in a transaction, unless the latest is the same.
func (s *Store) applyPlaybook(ctx context.Context, playbook record.Playbook) (record.Playbook, error) {
	var latest record.Playbook
	err := s.playbooks.FindOne(ctx, bson.D{{Key: "name", Value: playbook.Name}}, options.FindOne().SetSort(newestFirst)).Decode(&latest)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return record.Playbook{}, err
	}
	if err == nil && latest.Digest == playbook.Digest {
		return latest, nil
	}
	playbook.Revision = latest.Revision + 1
	raw, err := encode("the playbook", playbookDocument{ID: revisionID(playbook.Name, playbook.Revision), Playbook: playbook})
	if err != nil {
		return record.Playbook{}, err
	}
	if _, err = s.playbooks.InsertOne(ctx, raw); duplicate(err) {
		err = errRefused
	}
	return playbook, err
}

// Playbook implements store.Store.
func (s *Store) Playbook(ctx context.Context, name string, revision int64) (record.Playbook, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	where := bson.D{{Key: "name", Value: name}}
	if revision != 0 {
		where = append(where, bson.E{Key: "revision", Value: revision})
	}
	var found record.Playbook
	if err := s.playbooks.FindOne(ctx, where, options.FindOne().SetSort(newestFirst)).Decode(&found); err != nil {
		return record.Playbook{}, fmt.Errorf("playbook %s, revision %d: %w", name, revision, translate(err))
	}
	return found, nil
}

// Playbooks implements store.Store.
func (s *Store) Playbooks(ctx context.Context, page store.Page) ([]record.Playbook, string, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	const list = "playbooks"
	after, _, err := parseCursor(list, page.Cursor)
	if err != nil {
		return nil, "", fmt.Errorf("list playbooks: %w", err)
	}
	pipeline := mongo.Pipeline{
		{{Key: "$match", Value: bson.D{{Key: "name", Value: bson.D{{Key: "$gt", Value: after.Key}}}}}},
		{{Key: "$sort", Value: newestFirst}},
		{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$name"}, {Key: "latest", Value: bson.D{{Key: "$first", Value: "$_id"}}}}}},
		{{Key: "$sort", Value: byID(1)}},
	}
	if page.Limit > 0 {
		pipeline = append(pipeline, bson.D{{Key: "$limit", Value: page.Limit + 1}})
	}
	cursor, err := s.playbooks.Aggregate(ctx, pipeline)
	if err != nil {
		return nil, "", fmt.Errorf("list playbooks: %w", translate(err))
	}
	var latest []struct {
		ID string `json:"latest"`
	}
	if err := cursor.All(ctx, &latest); err != nil {
		return nil, "", fmt.Errorf("list playbooks: %w", translate(err))
	}
	ids := make([]string, len(latest))
	for i, l := range latest {
		ids[i] = l.ID
	}
	found, _, err := readPage[record.Playbook](ctx, s.playbooks, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		options.Find().SetSort(bson.D{{Key: "name", Value: 1}}), 0, nil)
	if err != nil {
		return nil, "", fmt.Errorf("list playbooks: %w", err)
	}
	found, next := trim(found, page.Limit, func(playbook *record.Playbook) position {
		return position{List: list, Key: playbook.Name}
	})
	return found, next, nil
}

// Revisions implements store.Store.
func (s *Store) Revisions(ctx context.Context, name string, page store.Page) ([]record.Playbook, string, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	list := "revisions of " + name
	after, ok, err := parseCursor(list, page.Cursor)
	if err != nil {
		return nil, "", fmt.Errorf("list revisions of %s: %w", name, err)
	}
	where := bson.D{{Key: "name", Value: name}}
	if ok {
		where = append(where, bson.E{Key: "revision", Value: bson.D{{Key: "$lt", Value: after.Time}}})
	}
	found, next, err := readPage(ctx, s.playbooks, where, options.Find().SetSort(newestFirst), page.Limit, func(playbook *record.Playbook) position {
		return position{List: list, Time: playbook.Revision}
	})
	if err == nil && len(found) == 0 && !ok {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, "", fmt.Errorf("list revisions of %s: %w", name, err)
	}
	return found, next, nil
}
