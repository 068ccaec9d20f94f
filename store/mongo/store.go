// Package mongo keeps the primary store in a MongoDB replica set, 6.0 or later.
//
// Everything that changes together is one transaction with majority and journaled writes; what a leader writes about a
// run is filtered on the run's term, revision and last commit. Transactions run on sessions whose ids a leader publishes
// in the terms record before it uses them, so that its successor can kill what it left open. Documents are records: fields
// have the names of their JSON tags, times are BSON dates.
package mongo

import (
	"context"
	"errors"
	"fmt"
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
	// defaultTimeout bounds a call whose context has no deadline.
	defaultTimeout = 30 * time.Second
	// selectionTimeout is how long one attempt waits for a primary, unless the URL says otherwise.
	selectionTimeout = 10 * time.Second
	// closeTimeout is how long a database may take to answer when the store or a change stream closes.
	closeTimeout = time.Second
)

// Config is the configuration of a store.
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

	playbooks, schedules, freezes, runs, agents, events, nodes, terms, keys *mongo.Collection

	// Locks are taken in this order: fencing, then a session of sessions.free. mu and the notifier's lock are taken last and
	// held only for moments.

	// fencing holds a token while a transaction that changes the terms record runs: two of them would only conflict.
	fencing  chan struct{}
	notifier *notifier

	mu       sync.Mutex  // guards the following three, and closes closing
	sessions *sessions   // of the latest term
	retired  []*sessions // of this process's earlier terms
	earlier  []sessionID // of the leaders before
	closing  chan struct{}
	// transactions are those in progress, with the goroutines that wait for the end of one whose caller has gone: Close
	// waits for them.
	transactions sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open returns a store. It does not wait for the database to answer: Check and Init do, and report what is wrong.
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
	opts := options.Client().SetServerSelectionTimeout(selectionTimeout).SetConnectTimeout(selectionTimeout).ApplyURI(config.URL).
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
		playbooks: db.Collection("playbooks"), schedules: db.Collection("schedules"), freezes: db.Collection("freezes"), runs: db.Collection("playbook_runs"),
		agents: db.Collection("playbook_run_agents"), events: db.Collection("playbook_run_events"),
		nodes: db.Collection("nodes"), terms: db.Collection("terms"), keys: db.Collection("idempotency_keys"),
		fencing: make(chan struct{}, 1), notifier: newNotifier(), closing: make(chan struct{}),
	}
	if s.sessions, err = newSessions(client); err != nil {
		return nil, errors.Join(err, client.Disconnect(context.Background()))
	}
	return s, nil
}

// Close ends the sessions and connections. Calls in progress return ErrUnavailable. It takes a little more than twice
// closeTimeout where the database does not answer.
func (s *Store) Close() error {
	s.mu.Lock()
	select {
	case <-s.closing:
		s.mu.Unlock()
		return nil
	default:
	}
	close(s.closing)
	all := append(s.retired, s.sessions)
	s.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.transactions.Wait()
	}()
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	select {
	case <-ended:
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		for _, sessions := range all {
			sessions.end(ctx)
		}
	case <-late.C:
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.client.Disconnect(ctx)
	<-ended // without connections no transaction waits for an answer
	return err
}

// withTimeout gives a context that has a deadline.
func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, defaultTimeout)
}
