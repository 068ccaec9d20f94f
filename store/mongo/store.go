// Package mongo keeps the primary store in a MongoDB replica set, 6.0 or later.
//
// Everything that changes together is one transaction with majority and journaled writes; what a leader writes about a
// run is filtered on the run's term, revision and last commit. Transactions run on sessions whose ids a leader publishes
// in the terms record before it uses them, so that its successor can end what it left open. Records are the documents:
// fields have the names of their JSON tags, times are BSON dates.
package mongo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/store"
)

const (
	// patience bounds a call whose context has no deadline.
	patience = 30 * time.Second
	// selection is how long one attempt waits for a primary, where the URL does not say.
	selection = 10 * time.Second
	// farewell is how long a database may take to answer when the store closes.
	farewell = time.Second
)

// Config says where the store is.
type Config struct {
	store.Config
	Log hclog.Logger

	monitor *event.CommandMonitor // for tests
}

// Store is a primary store in MongoDB.
type Store struct {
	config Config
	log    hclog.Logger
	client *mongo.Client
	db     *mongo.Database

	playbooks, runs, agents, events, nodes, terms, keys *mongo.Collection

	// fencing admits one transaction at a time that changes the terms record: two would only conflict.
	fencing chan struct{}
	hub     *hub

	mu      sync.Mutex
	writers *writers   // the sessions of the latest term
	retired []*writers // of earlier ones
	rivals  []lsid     // the sessions of earlier leaders
	closing chan struct{}
	pending sync.WaitGroup // transactions whose end is still being asked for
}

var _ store.Store = (*Store)(nil)

// Open prepares to use the store. It does not ask for an answer from it: Check and Init do, and say what is wrong.
func Open(config Config) (*Store, error) {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	if config.Database == "" {
		return nil, fmt.Errorf("%w: no database is named: set store.database", store.ErrUnusable)
	}
	if err := checkURL(config.URL); err != nil {
		return nil, fmt.Errorf("%w: store.url: %w", store.ErrUnusable, err)
	}
	majority := &writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: new(true)}
	opts := options.Client().SetServerSelectionTimeout(selection).SetConnectTimeout(selection).ApplyURI(config.URL).
		SetAppName("replicore").SetRegistry(registry).SetBSONOptions(bsonOptions).
		SetRetryWrites(true).SetRetryReads(true).SetMonitor(config.monitor).
		SetReadPreference(readpref.Primary()).SetReadConcern(readconcern.Majority()).SetWriteConcern(majority)
	client, err := mongo.Connect(failpoint.Wrap(failpoint.StoreOptions, opts))
	if err != nil {
		return nil, fmt.Errorf("%w: store.url: %w", store.ErrUnusable, err)
	}
	db := client.Database(config.Database)
	s := &Store{
		config: config, log: config.Log, client: client, db: db,
		playbooks: db.Collection("playbooks"), runs: db.Collection("playbook_runs"),
		agents: db.Collection("playbook_run_agents"), events: db.Collection("playbook_run_events"),
		nodes: db.Collection("nodes"), terms: db.Collection("terms"), keys: db.Collection("idempotency_keys"),
		fencing: make(chan struct{}, 1), hub: newHub(), closing: make(chan struct{}),
	}
	if s.writers, err = newWriters(client); err != nil {
		return nil, errors.Join(err, client.Disconnect(context.Background()))
	}
	return s, nil
}

// checkURL refuses what in a URL would undo a promise of ours. Names of options are not case-sensitive.
func checkURL(text string) error {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || (scheme != "mongodb" && scheme != "mongodb+srv") {
		return errors.New("a MongoDB URL starts with mongodb:// or mongodb+srv://")
	}
	_, query, _ := strings.Cut(rest, "?")
	for _, option := range strings.Split(query, "&") {
		key, value, _ := strings.Cut(option, "=")
		if plain, err := url.QueryUnescape(value); err == nil {
			value = plain
		}
		switch name := strings.ToLower(key); name {
		case "w", "wtimeout", "wtimeoutms", "journal", "j", "safe", "fsync":
			return fmt.Errorf("remove %q: writes are always acknowledged by a majority, in its journals", option)
		case "readpreference", "readpreferencetags", "maxstalenessseconds", "slaveok":
			if name != "readpreference" || !strings.EqualFold(value, "primary") {
				return fmt.Errorf("remove %q: reads always go to the primary", option)
			}
		case "retrywrites", "retryreads":
			if !strings.EqualFold(value, "true") {
				return fmt.Errorf("remove %q: retries are needed when a primary goes", option)
			}
		case "loadbalanced":
			if !strings.EqualFold(value, "false") {
				return fmt.Errorf("remove %q: name the members of the replica set", option)
			}
		default:
			if strings.HasPrefix(name, "readconcern") {
				return fmt.Errorf("remove %q: how reads are made sure is decided for each of them", option)
			}
		}
	}
	return nil
}

// Close ends the sessions and connections. What is still waiting for an answer gets ErrUnavailable. It takes a moment
// where the database answers, and a little more than twice farewell where it does not.
func (s *Store) Close() error {
	s.mu.Lock()
	select {
	case <-s.closing:
		s.mu.Unlock()
		return nil
	default:
	}
	close(s.closing)
	all := append(s.retired, s.writers)
	s.mu.Unlock()

	settled := make(chan struct{})
	go func() {
		defer close(settled)
		s.pending.Wait()
	}()
	late := time.NewTimer(farewell)
	defer late.Stop()
	select {
	case <-settled:
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		for _, w := range all {
			w.end(ctx)
		}
	case <-late.C:
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	err := s.client.Disconnect(ctx)
	<-settled // without connections nothing waits for an answer
	return err
}

// bounded gives a context that has a deadline.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, patience)
}
