package mongo

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	// maxDocument is the size limit of a document in MongoDB.
	maxDocument = 16 << 20
	// maxNesting is how deep a document may be nested, less than the 200 levels of MongoDB by what a command adds.
	maxNesting = 180
)

// registry reads whole numbers as int64, lists as []any and objects as map[string]any wherever the type leaves it open.
var registry = func() *bson.Registry {
	r := bson.NewRegistry()
	r.RegisterTypeMapEntry(bson.TypeInt32, reflect.TypeFor[int64]())
	r.RegisterTypeMapEntry(bson.TypeArray, reflect.TypeFor[[]any]())
	r.RegisterTypeMapEntry(bson.TypeEmbeddedDocument, reflect.TypeFor[map[string]any]())
	return r
}()

var bsonOptions = &options.BSONOptions{UseJSONStructTags: true, DefaultDocumentMap: true}

// Each document is a record with an _id. The ids of what belongs to a run start with the run's id: a run's documents are a
// range of ids, in order.
type (
	runDocument struct {
		ID         string `bson:"_id"`
		record.Run `bson:",inline"`
		// IsOpen is Run.Open: the runs that the leader lists.
		IsOpen bool `bson:"open"`
	}
	nodeDocument struct {
		ID             string `bson:"_id"`
		record.RunNode `bson:",inline"`
	}
	eventDocument struct {
		ID           string `bson:"_id"`
		record.Event `bson:",inline"`
	}
	playbookDocument struct {
		ID              string `bson:"_id"`
		record.Playbook `bson:",inline"`
	}
	scheduleDocument struct {
		ID              string `bson:"_id"`
		record.Schedule `bson:",inline"`
	}
	freezeDocument struct {
		ID            string `bson:"_id"`
		record.Freeze `bson:",inline"`
	}
	clusterNodeDocument struct {
		ID          clusterNodeID `bson:"_id"`
		record.Node `bson:",inline"`
	}
	clusterNodeID struct {
		ClusterID string `bson:"cluster_id"`
		NodeID    string `bson:"node_id"`
	}
	keyDocument struct {
		ID                       string `bson:"_id"`
		record.IdempotencyRecord `bson:",inline"`
		FinishTS                 *time.Time `bson:"finish_ts,omitempty"`
	}
	termDocument struct {
		ID          string `bson:"_id"`
		record.Term `bson:",inline"`
		// Fences counts the transactions that this document fenced: a fence must change a field.
		Fences int64 `bson:"fences"`
		// Leaders are the sessions of the latest leaders, the latest one last.
		Leaders []leaderSessions `bson:"leaders,omitempty"`
	}
	leaderSessions struct {
		Term     int64         `bson:"term"`
		Sessions []bson.Binary `bson:"sessions"`
	}
)

func runNodeID(run, node string) string { return run + "/" + node }

func eventID(run string, seq int64) string { return fmt.Sprintf("%s/%012d", run, seq) }

// runOfEvent reads the run's id from an event's _id.
func runOfEvent(id string) string {
	run, _, _ := strings.Cut(id, "/")
	return run
}

func revisionID(name string, revision int64) string { return fmt.Sprintf("%s/%09d", name, revision) }

// belongsTo selects, by _id, what belongs to a run and comes after the id given.
func belongsTo(run, after string) bson.E {
	return bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: run + "/" + after}, {Key: "$lt", Value: run + "0"}}} // '0' follows '/'
}

func byID(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }

// encode makes the document that is stored. what names it in an error, which is ErrNotStorable.
func encode(what string, value any) (bson.Raw, error) {
	buffer := new(bytes.Buffer)
	encoder := bson.NewEncoder(bson.NewDocumentWriter(buffer))
	encoder.SetRegistry(registry)
	encoder.UseJSONStructTags()
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", what, store.ErrNotStorable, err)
	}
	if buffer.Len() > maxDocument {
		return nil, fmt.Errorf("%s: %w: it takes %d bytes; MongoDB's documents hold at most 16 MiB", what, store.ErrNotStorable, buffer.Len())
	}
	return buffer.Bytes(), nil
}

// nesting is how deep a document is nested.
func nesting(raw bson.Raw) int {
	deepest := 0
	elements, _ := raw.Elements()
	for _, element := range elements {
		switch value := element.Value(); value.Type {
		case bson.TypeEmbeddedDocument, bson.TypeArray:
			deepest = max(deepest, nesting(value.Value))
		}
	}
	return 1 + deepest
}

var mutableRunFields = store.MutableRunFields()

// runUpdate sets every mutable field of the run that is not empty, and removes the others. The run is open again: every commit
// leaves something to stamp.
func runUpdate(run record.Run) (bson.D, error) {
	run.Playbook, run.Params, run.Stamped = record.PlaybookCopy{}, nil, false
	raw, err := encode("run "+run.ID, run)
	if err != nil {
		return nil, err
	}
	set, unset := bson.D{{Key: "open", Value: true}}, bson.D{}
	for _, name := range mutableRunFields {
		if value, err := raw.LookupErr(name); err == nil {
			set = append(set, bson.E{Key: name, Value: value})
		} else {
			unset = append(unset, bson.E{Key: name, Value: ""})
		}
	}
	update := bson.D{{Key: "$set", Value: set}}
	if len(unset) > 0 {
		update = append(update, bson.E{Key: "$unset", Value: unset})
	}
	return update, nil
}
