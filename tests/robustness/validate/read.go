package validate

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

// ReadStore reads the primary store at a MongoDB URL with majority reads.
func ReadStore(ctx context.Context, url, database string) (Evidence, error) {
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
		readAll(ctx, db, "playbook_runs", &e.Runs), readAll(ctx, db, "playbook_run_agents", &e.Nodes), readAll(ctx, db, "playbook_run_events", &e.Events),
		readAll(ctx, db, "idempotency_keys", &e.Keys),
		db.Collection("terms").FindOne(ctx, bson.D{{Key: "_id", Value: "terms"}}).Decode(&terms))
	e.Term = terms.Term
	return e, err
}

func readAll[T any](ctx context.Context, db *mongo.Database, collection string, into *[]T) error {
	cursor, err := db.Collection(collection).Find(ctx, bson.D{})
	if err == nil {
		err = cursor.All(ctx, into)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", collection, err)
	}
	return nil
}

// ReadExecutions reads what commands recorded about themselves in the files that match a pattern: a line
// "S seconds action node term pid" at their start and "E seconds action node term pid code" at their end,
// with "hostile" after it where they wrote a payload that cannot be stored.
func ReadExecutions(pattern string) ([]Execution, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []Execution
	for _, file := range files {
		executions, err := readExecutions(file)
		if err != nil {
			return nil, fmt.Errorf("executions in %s: %w", filepath.Base(file), err)
		}
		all = append(all, executions...)
	}
	return all, nil
}

func readExecutions(name string) ([]Execution, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var executions []Execution
	running := map[string]int{} // index in executions, by action and process
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[0] == "E" && len(fields) < 7 {
			return nil, fmt.Errorf("line %q has too few fields", lines.Text())
		}
		at, err := parseTime(fields[1])
		term, _ := strconv.ParseInt(fields[4], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		key := fields[2] + " " + fields[5]
		switch i, started := running[key]; {
		case fields[0] == "S":
			running[key] = len(executions)
			executions = append(executions, Execution{Action: fields[2], Node: fields[3], Term: term, Start: at})
		case !started:
			return nil, fmt.Errorf("line %q is the end of an execution that has no start", lines.Text())
		default:
			executions[i].End = &at
			executions[i].Code, _ = strconv.Atoi(fields[6])
			executions[i].Hostile = len(fields) > 7 && fields[7] == "hostile"
			delete(running, key)
		}
	}
	return executions, lines.Err()
}

// parseTime reads seconds since 1970 with six decimals.
func parseTime(text string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	micros, err2 := strconv.ParseInt(fraction, 10, 64)
	if err := errors.Join(err, err2); err != nil || len(fraction) != 6 {
		return time.Time{}, fmt.Errorf("%q is not a time with six decimals", text)
	}
	return time.Unix(seconds, micros*1000), nil
}
