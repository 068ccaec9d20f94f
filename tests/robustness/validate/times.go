package validate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// What leaders record as the time may be wrong: their clocks are. When they recorded it is known from the log of the store, whose
// clock is that of the machine on which commands record their own times.

// Commit is one commit of a run: the time that it says, and when the store had it.
type Commit struct {
	Says   time.Time
	Stored time.Time
}

// LogPosition is a position in the log of a store.
type LogPosition = bson.Timestamp

// Position is the end of the log of the store at a MongoDB URL.
func Position(ctx context.Context, url string) (LogPosition, error) {
	var hello struct {
		OperationTime LogPosition `bson:"operationTime"`
	}
	err := withDatabase(url, "admin", func(db *mongo.Database) error {
		return db.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
	})
	if err == nil && hello.OperationTime.IsZero() {
		err = errors.New("it has no operationTime")
	}
	if err != nil {
		return LogPosition{}, fmt.Errorf("read the position in the log of the store: %w", err)
	}
	return hello.OperationTime, nil
}

func withDatabase(url, database string, do func(*mongo.Database) error) error {
	client, err := mongo.Connect(options.Client().ApplyURI(url).SetServerSelectionTimeout(20 * time.Second))
	if err != nil {
		return err
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	return do(client.Database(database))
}

// ReadCommits reads the commits of all runs since a position, by run and in their order.
func ReadCommits(ctx context.Context, url, database string, since LogPosition) (map[string][]Commit, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	commits := map[string][]Commit{}
	err := withDatabase(url, database, func(db *mongo.Database) error {
		const runs, marks = "playbook_runs", "validate_marks"
		stream, err := db.Watch(ctx, mongo.Pipeline{
			{{Key: "$match", Value: bson.D{{Key: "ns.coll", Value: bson.D{{Key: "$in", Value: bson.A{runs, marks}}}}}}},
		}, options.ChangeStream().SetStartAtOperationTime(&since))
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close(context.WithoutCancel(ctx)) }()
		if _, err := db.Collection(marks).InsertOne(ctx, bson.D{{Key: "_id", Value: "end"}}); err != nil { // the end of what is read
			return err
		}
		for stream.Next(ctx) {
			var change runChange
			if err := stream.Decode(&change); err != nil {
				return err
			}
			if change.NS.Coll == marks {
				return db.Collection(marks).Drop(ctx)
			}
			if says := change.says(); !says.IsZero() {
				commits[change.Key.ID] = append(commits[change.Key.ID], Commit{Says: says, Stored: change.WallTime})
			}
		}
		return stream.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read the log of the store: %w", err)
	}
	return commits, nil
}

// runChange is a change of a document of playbook_runs. Each commit of a run writes its update_ts.
type runChange struct {
	NS struct {
		Coll string `bson:"coll"`
	} `bson:"ns"`
	Key struct {
		ID string `bson:"_id"`
	} `bson:"documentKey"`
	WallTime time.Time `bson:"wallTime"`
	Document struct {
		UpdateTS time.Time `bson:"update_ts"`
	} `bson:"fullDocument"`
	Update struct {
		Fields struct {
			UpdateTS time.Time `bson:"update_ts"`
		} `bson:"updatedFields"`
	} `bson:"updateDescription"`
}

func (c *runChange) says() time.Time {
	if !c.Document.UpdateTS.IsZero() {
		return c.Document.UpdateTS
	}
	return c.Update.Fields.UpdateTS
}

// timeline translates what the records of a run say.
type timeline []Commit

// stored is when the store had what says this time. Between two commits, time passes from the first.
func (t timeline) stored(says time.Time) time.Time {
	at, found := slices.BinarySearchFunc(t, says, func(c Commit, says time.Time) int { return c.Says.Compare(says) })
	if !found {
		at = max(at-1, 0)
	}
	return t[at].Stored.Add(says.Sub(t[at].Says))
}

func (t timeline) translate(times ...*time.Time) {
	for _, says := range times {
		if says != nil && !says.IsZero() {
			*says = t.stored(*says)
		}
	}
}

// translate replaces the times that the records say by those at which the store had them, but not QueuedTS, which is a place in the
// queue, and Event.Says.
func (e *Evidence) translate() {
	if e.Commits == nil {
		return
	}
	timelines := map[string]timeline{}
	for run, commits := range e.Commits {
		// A time that is said twice is that of the first commit.
		timelines[run] = slices.CompactFunc(timeline(commits), func(a, b Commit) bool { return a.Says.Equal(b.Says) })
	}
	for i := range e.Runs {
		if r := &e.Runs[i]; len(timelines[r.ID]) > 0 {
			timelines[r.ID].translate(r.StartTS, r.EndTS, r.FinishTS)
		}
	}
	for i := range e.Nodes {
		n := &e.Nodes[i]
		if len(timelines[n.RunID]) == 0 {
			continue
		}
		for j := range n.Actions {
			a := &n.Actions[j]
			timelines[n.RunID].translate(&a.StartTS, a.FinishTS)
		}
	}
	for i := range e.Events {
		if ev := &e.Events[i]; len(timelines[ev.RunID]) > 0 {
			timelines[ev.RunID].translate(&ev.TS)
		}
	}
}
