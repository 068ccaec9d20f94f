package mongo

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// schemaVersion is of what this program writes.
const schemaVersion = 1

func newerSchema(found int) error {
	return fmt.Errorf("%w: its schema is version %d and this program knows %d: use the release that wrote it, or a newer one", store.ErrUnusable, found, schemaVersion)
}

// index is an index that a collection needs.
type index struct {
	name    string
	keys    bson.D
	unique  bool
	partial bson.D
	expires int32 // seconds; 0: records do not expire by it
}

// collectionSchema is a collection that the database must have.
type collectionSchema struct {
	collection *mongo.Collection
	indexes    []index
}

// schema is what the database of an installation with this terms record must have.
func (s *Store) schema(term record.Term) []collectionSchema {
	finished := bson.E{Key: "finish_ts", Value: bson.D{{Key: "$exists", Value: true}}} // open runs need no entries
	expiry := index{
		name: "expiry", keys: bson.D{{Key: "finish_ts", Value: 1}}, expires: expireAfter(term.FinishedTTLSeconds), partial: bson.D{finished},
	}
	runExpiry := expiry // a run must not expire before its records are stamped: without it nobody would stamp them
	runExpiry.partial = bson.D{finished, {Key: "open", Value: false}}
	return []collectionSchema{
		{s.playbooks, []index{{name: "revisions", keys: newestFirst, unique: true}}},
		{s.runs, []index{
			runExpiry,
			{name: "newest", keys: bson.D{{Key: "created_ts", Value: -1}, {Key: "_id", Value: -1}}},
			{name: "newest_of_cluster", keys: bson.D{{Key: "cluster", Value: 1}, {Key: "created_ts", Value: -1}, {Key: "_id", Value: -1}}},
			{name: "open", keys: bson.D{{Key: "open", Value: 1}}, partial: bson.D{{Key: "open", Value: true}}},
		}},
		{s.agents, []index{expiry}},
		{s.events, []index{expiry}},
		{s.nodes, []index{{name: "by_name", keys: bson.D{{Key: "cluster_id", Value: 1}, {Key: "node_id", Value: 1}}, unique: true}}},
		{s.schedules, nil},
		{s.freezes, nil},
		{s.terms, nil},
		{s.keys, []index{expiry, {name: "of_run", keys: bson.D{{Key: "run_id", Value: 1}}, partial: bson.D{{Key: "run_id", Value: bson.D{{Key: "$exists", Value: true}}}}}}},
	}
}

// expireAfter is a TTL as TTL indexes hold it; forever is the most that they can hold.
func expireAfter(seconds int64) int32 {
	if seconds <= 0 {
		return math.MaxInt32
	}
	return int32(min(seconds, math.MaxInt32))
}

// Init implements store.Store.
func (s *Store) Init(ctx context.Context) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if wrong, err := s.checkServer(ctx); err != nil {
		return fmt.Errorf("set up the store: %w", err)
	} else if len(wrong) > 0 {
		return fmt.Errorf("set up the store: %w: %s", store.ErrUnusable, wrong[0])
	}
	if err := s.init(ctx); err != nil {
		return fmt.Errorf("set up the store: %w", translate(err))
	}
	return nil
}

func (s *Store) init(ctx context.Context) error {
	doc, err := s.readTerms(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		doc.Term = s.config.NewTerm(uuid.NewString(), schemaVersion)
	case err != nil:
		return err
	case doc.Schema > schemaVersion: // it is not changed
		return newerSchema(doc.Schema)
	case s.config.ChangeTTL(&doc.Term):
		if err := s.setTTL(ctx, doc.FinishedTTLSeconds); err != nil {
			return err
		}
	}
	for _, want := range s.schema(doc.Term) {
		if err := s.createCollection(ctx, want); err != nil {
			return err
		}
	}
	// The terms record is last: a store that has it is complete.
	for _, created := range []struct {
		id     string
		fields any
	}{
		{barrierID, bson.D{{Key: "reads", Value: 0}}},
		{termsID, doc.Term},
	} {
		_, err := s.terms.UpdateOne(ctx, byID(created.id), bson.D{{Key: "$setOnInsert", Value: created.fields}}, options.UpdateOne().SetUpsert(true))
		if err != nil && !duplicate(err) {
			return fmt.Errorf("create the terms record: %w", err)
		}
	}
	return nil
}

// setTTL records the TTL of the installation. The indexes follow: where this is interrupted, by the next Init.
func (s *Store) setTTL(ctx context.Context, seconds int64) error {
	_, err := s.terms.UpdateOne(ctx, byID(termsID), bson.D{{Key: "$set", Value: bson.D{{Key: "finished_ttl_seconds", Value: seconds}}}})
	if err != nil {
		return fmt.Errorf("record how long finished runs are kept: %w", err)
	}
	return nil
}

// createCollection creates a collection and its indexes, or changes them to what they must be. An index that is not ours is
// not changed, and is an error.
func (s *Store) createCollection(ctx context.Context, want collectionSchema) error {
	name := want.collection.Name()
	differences, err := s.compare(ctx, want)
	if err != nil {
		return err
	}
	var missing []mongo.IndexModel
	for _, d := range differences {
		switch {
		case d.missing != nil:
			missing = append(missing, indexModel(*d.missing))
		case d.expiry != nil:
			if err := s.changeExpiry(ctx, want.collection, d.want, *d.expiry); err != nil {
				return fmt.Errorf("change the expiry of collection %s: %w", name, err)
			}
		default:
			return fmt.Errorf("%w: %s", store.ErrUnusable, d.text)
		}
	}
	if len(missing) > 0 { // this creates the collection too
		if _, err := want.collection.Indexes().CreateMany(ctx, missing); err != nil {
			return fmt.Errorf("create the indexes of collection %s: %w", name, err)
		}
	}
	if len(want.indexes) == 0 {
		if err := s.db.CreateCollection(ctx, name); err != nil && !hasCode(err, codeNamespaceExists) {
			return fmt.Errorf("create collection %s: %w", name, err)
		}
	}
	return nil
}

// indexModel describes an index to the driver.
func indexModel(want index) mongo.IndexModel {
	opts := options.Index().SetName(want.name)
	if want.unique {
		opts.SetUnique(true)
	}
	if want.partial != nil {
		opts.SetPartialFilterExpression(want.partial)
	}
	if want.expires > 0 {
		opts.SetExpireAfterSeconds(want.expires)
	}
	return mongo.IndexModel{Keys: want.keys, Options: opts}
}

// difference is how an index is not as it must be. It is missing, has another expiry, or is not ours.
type difference struct {
	text    string // with what to do
	missing *index
	expiry  *existingIndex
	want    index
}

// existingIndex is an index as the server describes it.
type existingIndex struct {
	Name    string   `bson:"name"`
	Key     bson.D   `bson:"key"`
	Unique  bool     `bson:"unique"`
	Partial bson.Raw `bson:"partialFilterExpression"`
	Expires *float64 `bson:"expireAfterSeconds"`
}

// compare lists how the indexes of a collection differ from what is wanted.
func (s *Store) compare(ctx context.Context, want collectionSchema) ([]difference, error) {
	name := want.collection.Name()
	cursor, err := want.collection.Indexes().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the indexes of %s: %w", name, err)
	}
	var all []existingIndex
	if err := cursor.All(ctx, &all); err != nil {
		return nil, fmt.Errorf("list the indexes of %s: %w", name, err)
	}
	var differences []difference
	for _, index := range want.indexes {
		if d, differs := compareIndex(want.collection, index, all); differs {
			differences = append(differences, d)
		}
	}
	return differences, nil
}

// compareIndex is how the index of a collection differs from what is wanted, if it does.
func compareIndex(collection *mongo.Collection, want index, all []existingIndex) (difference, bool) {
	name := collection.Name()
	for _, have := range all {
		same := formatKeys(have.Key) == formatKeys(want.keys)
		switch {
		case !same && have.Name != want.name:
			continue
		case !same, have.Unique != want.unique, (len(have.Partial) > 0) != (len(want.partial) > 0):
			text := fmt.Sprintf("index %q of collection %s is not ours: it has keys %s, unique %t, partial %t instead of keys %s, unique %t, partial %t: drop it with db.%s.dropIndex(%q), then run `replicore store init`",
				have.Name, name, formatKeys(have.Key), have.Unique, len(have.Partial) > 0, formatKeys(want.keys), want.unique, len(want.partial) > 0, name, have.Name)
			return difference{text: text}, true
		case want.expires > 0 && (have.Expires == nil || int32(*have.Expires) != want.expires):
			text := fmt.Sprintf("finished records expire from collection %s after %s instead of %d s: run `replicore store init`", name, formatExpiry(have.Expires), want.expires)
			return difference{text: text, expiry: &have, want: want}, true
		default:
			return difference{}, false
		}
	}
	return difference{text: fmt.Sprintf("index %q of collection %s is missing: run `replicore store init`", want.name, name), missing: &want}, true
}

func formatExpiry(seconds *float64) string {
	if seconds == nil {
		return "no time"
	}
	return fmt.Sprintf("%.0f s", *seconds)
}

// changeExpiry changes a TTL index to the time that is wanted: by collMod, or by creating it again where only readWrite is granted.
func (s *Store) changeExpiry(ctx context.Context, collection *mongo.Collection, want index, have existingIndex) error {
	err := s.db.RunCommand(ctx, bson.D{{Key: "collMod", Value: collection.Name()}, {Key: "index", Value: bson.D{
		{Key: "name", Value: have.Name}, {Key: "expireAfterSeconds", Value: want.expires},
	}}}).Err()
	if !hasCode(err, codeUnauthorized) {
		return err
	}
	if err := collection.Indexes().DropOne(ctx, have.Name); err != nil {
		return err
	}
	_, err = collection.Indexes().CreateOne(ctx, indexModel(want))
	return err
}

// formatKeys writes an index's keys as the shell does.
func formatKeys(of bson.D) string {
	text := "{"
	for i, e := range of {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s: %v", e.Key, e.Value)
	}
	return text + "}"
}
