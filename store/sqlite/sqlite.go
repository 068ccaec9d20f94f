// Package sqlite keeps the primary store in one SQLite file, for one replica.
//
// A commit is one transaction, and is acknowledged once it is on the disk (WAL with synchronous=FULL): it survives a
// kill and a power cut. All writes go through one connection, one after the other, so that nothing changes between what a
// write checks and what it writes; reads have connections of their own and see whatever was acknowledged. While a store is in
// use no other process can use its file: a lock on <file>.lock names the process.
//
// For people there is a view of each collection (playbooks, playbook_runs, playbook_run_agents,
// playbook_run_events, nodes, schedules, freezes, terms, idempotency_keys), with the record's JSON in doc and a column for each of its fields.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	driver "modernc.org/sqlite"

	"github.com/replicante-io/playbooks/store"
)

// Config says where the file is (URL: sqlite:///var/lib/replicante/core.db, or sqlite:core.db in the working directory;
// Database is not used), and how often expired records are deleted.
type Config struct {
	store.Config
	ExpireInterval time.Duration // 0: a minute
	Log            hclog.Logger
}

// Store is a store.Store in a SQLite file. The file is opened when it is first needed.
type Store struct {
	path           string
	settings       store.Config
	expireInterval time.Duration
	log            hclog.Logger

	// Locks are taken in this order: mu, file.writeLock, notifier.mu. A write does not hold mu.
	mu     sync.Mutex // guards file and closed
	file   *file      // nil until it was opened
	closed bool

	notifier notifier
}

var _ store.Store = (*Store)(nil)

// fdatasync is as durable as fsync and takes a commit half the time. It is set for the whole process.
var fdatasync = sync.OnceFunc(func() { _, _ = driver.Fdatasync(true) })

// Open returns the store of config. It does not open the file: Check, Init and the first use do, and return what is wrong.
func Open(_ context.Context, config Config) (*Store, error) {
	path, err := pathOf(config.URL)
	if err != nil {
		return nil, fmt.Errorf("store URL %q: %w: %w", config.URL, err, store.ErrUnusable)
	}
	fdatasync()
	s := &Store{path: path, settings: config.Config, expireInterval: config.ExpireInterval, log: config.Log}
	if s.expireInterval <= 0 {
		s.expireInterval = time.Minute
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	return s, nil
}

func pathOf(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", err
	case u.Scheme != "sqlite":
		return "", errors.New("its scheme is not sqlite")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("it must not have options")
	case u.Host != "":
		return "", fmt.Errorf("write sqlite:///%s%s for an absolute path, sqlite:%s%s for a relative one", u.Host, u.Path, u.Host, u.Path)
	}
	path := u.Path
	if u.Opaque != "" {
		if path, err = url.PathUnescape(u.Opaque); err != nil {
			return "", err
		}
	}
	if path == "" || strings.HasSuffix(path, "/") || strings.HasPrefix(path, ":") {
		return "", errors.New("it does not name a file, as in sqlite:///var/lib/replicante/core.db")
	}
	return filepath.Abs(path)
}

// Close waits for a write in progress and closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.close()
}

// connect returns the open file, and opens it where it is not.
func (s *Store) connect(ctx context.Context) (*file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, fmt.Errorf("%s is closed: %w", s.path, store.ErrUnavailable)
	case s.file != nil:
		return s.file, s.file.checkInPlace()
	}
	f, err := openFile(ctx, s.path)
	if err != nil {
		return nil, err
	}
	s.file = f
	return f, nil
}

// write runs do in one transaction, which is rolled back if do returns an error. It waits for other writes until ctx ends; a
// statement that has begun is not interrupted.
func (s *Store) write(ctx context.Context, what string, do func(w *writer) error) error {
	f, err := s.ready(ctx)
	if err == nil {
		err = f.transaction(ctx, do)
	}
	return s.wrap(what, err)
}

// ready returns the file if it is set up.
func (s *Store) ready(ctx context.Context) (*file, error) {
	f, err := s.connect(ctx)
	switch {
	case err != nil:
		return nil, err
	case !f.ready.Load():
		return nil, fmt.Errorf("%s is not set up, run `replicore store init`: %w", s.path, store.ErrUnusable)
	}
	return f, nil
}

// read calls each with every row that query returns.
func (s *Store) read(ctx context.Context, what, query string, args []any, each func(row *sql.Rows) error) error {
	f, err := s.ready(ctx)
	if err == nil {
		err = f.query(ctx, query, args, each)
	}
	return s.wrap(what, err)
}
