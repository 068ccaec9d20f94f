package check

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
)

// Store reads what the primary store at this MongoDB URL holds, as a majority of its members knows it.
func Store(ctx context.Context, url, database string) (Evidence, error) {
	var e Evidence
	client, err := mongo.Connect(options.Client().ApplyURI(url).SetReadConcern(readconcern.Majority()).SetServerSelectionTimeout(20 * time.Second))
	if err != nil {
		return e, fmt.Errorf("connect to the store: %w", err)
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }()
	db := client.Database(database)
	var terms struct {
		Term int64 `bson:"term"`
	}
	err = errors.Join(
		all(ctx, db, "playbook_runs", &e.Runs), all(ctx, db, "playbook_run_agents", &e.Nodes), all(ctx, db, "playbook_run_events", &e.Events),
		all(ctx, db, "idempotency_keys", &e.Keys),
		db.Collection("terms").FindOne(ctx, bson.D{{Key: "_id", Value: "terms"}}).Decode(&terms))
	e.Term = terms.Term
	return e, err
}

func all[T any](ctx context.Context, db *mongo.Database, collection string, into *[]T) error {
	cursor, err := db.Collection(collection).Find(ctx, bson.D{})
	if err == nil {
		err = cursor.All(ctx, into)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", collection, err)
	}
	return nil
}

// Histories reads what the commands wrote into the files that match a pattern: lines "S seconds action node term pid" at
// a start and "E seconds action node term pid code" at an end.
func Histories(pattern string) ([]Work, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var works []Work
	for _, file := range files {
		of, err := history(file)
		if err != nil {
			return nil, fmt.Errorf("history %s: %w", filepath.Base(file), err)
		}
		works = append(works, of...)
	}
	return works, nil
}

func history(name string) ([]Work, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var works []Work
	open := map[string]int{} // index in works by action and process
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 6 || words[0] == "E" && len(words) != 7 {
			return nil, fmt.Errorf("%q is no line of a history", lines.Text())
		}
		at, err := moment(words[1])
		term, _ := strconv.ParseInt(words[4], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		key := words[2] + " " + words[5]
		switch i, began := open[key]; {
		case words[0] == "S":
			open[key] = len(works)
			works = append(works, Work{Action: words[2], Node: words[3], Term: term, Start: at})
		case !began:
			return nil, fmt.Errorf("%q ends what never began", lines.Text())
		default:
			works[i].End = &at
			works[i].Code, _ = strconv.Atoi(words[6])
			delete(open, key)
		}
	}
	return works, lines.Err()
}

// moment reads seconds since the epoch with six decimals.
func moment(text string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	micros, err2 := strconv.ParseInt(fraction, 10, 64)
	if err := errors.Join(err, err2); err != nil || len(fraction) != 6 {
		return time.Time{}, fmt.Errorf("%q is no moment", text)
	}
	return time.Unix(seconds, micros*1000), nil
}
