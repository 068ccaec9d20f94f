// Package sqlite keeps the primary store in one SQLite file, for one replica.
//
// A commit is one transaction, and is acknowledged once it is on the disk (WAL with synchronous=FULL): it survives a
// kill and a power cut. All writes go, one after the other, through one connection, which makes every promise about
// fences hold; reads have connections of their own and see whatever was acknowledged. While a store is in use no other
// process can use its file: a lock on <file>.lock says who does.
//
// For people who look there is a view for each collection (playbooks, playbook_runs, playbook_run_agents,
// playbook_run_events, nodes, terms, idempotency_keys), with the record's JSON in doc and a column for each of its fields.
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
// Database is not used), and how often what has expired is deleted.
type Config struct {
	store.Config
	JanitorEvery time.Duration // 0: a minute
	Log          hclog.Logger
}

// Store is a store.Store in a SQLite file. The file is opened when it is first needed.
type Store struct {
	path    string
	ttl     time.Duration
	janitor time.Duration
	log     hclog.Logger

	mu     sync.Mutex // guards file and closed
	file   *file      // nil until it could be opened
	closed bool

	bells bells
}

var _ store.Store = (*Store)(nil)

// fdatasync is as durable as fsync, and a commit waits only half as long for it. The switch is the process's.
var fdatasync = sync.OnceFunc(func() { _, _ = driver.Fdatasync(true) })

// Open returns the store of config. What is wrong with the file is told by Check and by whatever is done first.
func Open(_ context.Context, config Config) (*Store, error) {
	path, err := pathOf(config.URL)
	if err != nil {
		return nil, fmt.Errorf("store URL %q: %w: %w", config.URL, err, store.ErrUnusable)
	}
	fdatasync()
	s := &Store{path: path, ttl: config.FinishedTTL, janitor: config.JanitorEvery, log: config.Log}
	if s.janitor <= 0 {
		s.janitor = time.Minute
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	return s, nil
}

func pathOf(text string) (string, error) {
	at, err := url.Parse(text)
	switch {
	case err != nil:
		return "", err
	case at.Scheme != "sqlite":
		return "", errors.New("its scheme is not sqlite")
	case at.RawQuery != "" || at.Fragment != "":
		return "", errors.New("it must not have options")
	case at.Host != "":
		return "", fmt.Errorf("write sqlite:///%s%s for an absolute path, sqlite:%s%s for a relative one", at.Host, at.Path, at.Host, at.Path)
	}
	path := at.Path
	if at.Opaque != "" {
		if path, err = url.PathUnescape(at.Opaque); err != nil {
			return "", err
		}
	}
	if path == "" || strings.HasSuffix(path, "/") || strings.HasPrefix(path, ":") {
		return "", errors.New("it does not name a file, as in sqlite:///var/lib/replicante/core.db")
	}
	return filepath.Abs(path)
}

// Close lets go of the file.
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

// connect returns the file, opened.
func (s *Store) connect(ctx context.Context) (*file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, fmt.Errorf("%s is closed: %w", s.path, store.ErrUnavailable)
	case s.file != nil:
		return s.file, nil
	}
	f, err := openFile(ctx, s.path)
	if err != nil {
		return nil, err
	}
	s.file = f
	return f, nil
}

// write does one transaction: all of do, or nothing if it returns an error. It waits for its turn until ctx ends; once
// it has begun to write, it goes on.
func (s *Store) write(ctx context.Context, what string, do func(w *writer) error) error {
	f, err := s.ready(ctx)
	if err == nil {
		err = f.transaction(ctx, do)
	}
	return s.say(what, err)
}

// ready returns the file if Init was called on it, now or ever.
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
	return s.say(what, err)
}
