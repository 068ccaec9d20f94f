package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	statementDocuments = 64      // at most, of one statement
	statementBytes     = 1 << 20 // about at most, of one statement; a larger document has a write of its own
	commandBytes       = 8 << 20 // about at most, of one command
)

// encodedDocument is a document as it will be stored.
type encodedDocument struct {
	id  any
	raw bson.Raw
}

// upsert replaces the documents that exist and inserts the others, in a transaction.
//
// One statement replaces many documents: an update of all their ids by a pipeline that picks the new document out of a
// constant. That takes the server less than half the time of a statement for each.
func (s *Store) upsert(ctx context.Context, collection *mongo.Collection, docs []encodedDocument) error {
	var alone []mongo.WriteModel
	var statements bson.A
	var missing []encodedDocument
	size, expected := 0, 0
	flush := func() error {
		if len(statements) == 0 {
			return nil
		}
		matched, err := s.update(ctx, collection, statements)
		if err != nil {
			return err
		}
		expected -= matched
		statements, size = nil, 0
		return nil
	}
	for len(docs) > 0 {
		var ids, raws bson.A
		bytes := 0
		for len(docs) > 0 && len(ids) < statementDocuments && bytes < statementBytes {
			if doc := docs[0]; len(doc.raw) > statementBytes {
				alone = append(alone, mongo.NewReplaceOneModel().SetFilter(byID(doc.id)).SetReplacement(doc.raw).SetUpsert(true))
			} else {
				ids, raws, bytes = append(ids, doc.id), append(raws, doc.raw), bytes+len(doc.raw)
				missing = append(missing, doc)
			}
			docs = docs[1:]
		}
		if len(ids) == 0 {
			continue
		}
		statements = append(statements, bson.D{
			{Key: "q", Value: byID(bson.D{{Key: "$in", Value: ids}})},
			{Key: "multi", Value: true},
			{Key: "u", Value: bson.A{bson.D{{Key: "$replaceWith", Value: bson.D{
				{Key: "$arrayElemAt", Value: bson.A{"$$docs", bson.D{{Key: "$indexOfArray", Value: bson.A{"$$ids", "$_id"}}}}},
			}}}}},
			{Key: "c", Value: bson.D{{Key: "ids", Value: ids}, {Key: "docs", Value: raws}}},
		})
		expected += len(ids)
		if size += bytes; size > commandBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if len(alone) > 0 {
		if _, err := collection.BulkWrite(ctx, alone); err != nil {
			return err
		}
	}
	if expected == 0 {
		return nil
	}
	return s.insertMissing(ctx, collection, missing, expected)
}

// update runs an update command whose statements have constants, which the driver's own updates cannot have.
func (s *Store) update(ctx context.Context, collection *mongo.Collection, statements bson.A) (matched int, err error) {
	var answer struct {
		N      int `bson:"n"`
		Errors []struct {
			Code    int    `bson:"code"`
			Message string `bson:"errmsg"`
		} `bson:"writeErrors"`
	}
	err = s.db.RunCommand(ctx, bson.D{{Key: "update", Value: collection.Name()}, {Key: "updates", Value: statements}}).Decode(&answer)
	if err == nil && len(answer.Errors) > 0 {
		first := answer.Errors[0]
		err = mongo.CommandError{Code: int32(first.Code), Message: first.Message, Name: fmt.Sprintf("code %d", first.Code)}
	}
	return answer.N, err
}

// insertMissing inserts those of docs, count in all, that do not exist.
func (s *Store) insertMissing(ctx context.Context, collection *mongo.Collection, docs []encodedDocument, count int) error {
	existing := map[string]bool{}
	if count < len(docs) {
		ids := make(bson.A, len(docs))
		for i, doc := range docs {
			ids[i] = doc.id
		}
		cursor, err := collection.Find(ctx, byID(bson.D{{Key: "$in", Value: ids}}), options.Find().SetProjection(byID(1)))
		if err != nil {
			return err
		}
		for cursor.Next(ctx) {
			existing[cursor.Current.Lookup("_id").String()] = true
		}
		if err := cursor.Err(); err != nil {
			return err
		}
	}
	var raws []any
	for _, doc := range docs {
		if !existing[doc.raw.Lookup("_id").String()] {
			raws = append(raws, doc.raw)
		}
	}
	_, err := collection.InsertMany(ctx, raws)
	return err
}
