package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// schemaVersion is what Memory records: the suite expects a version.
const schemaVersion = 1

// Memory is a store.Store in memory, for tests: it does what the suite asks of every store, without I/O, goroutines or
// timers, so that it may be used inside testing/synctest. Records expire when the store is next used after their time.
type Memory struct {
	mu          sync.Mutex // not held while an interceptor runs
	config      store.Config
	term        *record.Term // nil before Init
	runs        map[string]*memoryRun
	keys        map[string]memoryKey
	playbooks   map[string][]record.Playbook // by name, by revision
	nodes       map[record.NodeKey]record.Node
	schedules   map[string]record.Schedule
	freezes     map[string]record.Freeze
	interceptor func(op string, do func() error) error
}

// memoryRun is a run with its records. changed is closed, and replaced, when events are added.
type memoryRun struct {
	run     record.Run
	nodes   map[string]record.RunNode
	events  []record.Event
	changed chan struct{}
}

type memoryKey struct {
	record.IdempotencyRecord
	finishTS *time.Time
}

var _ store.Store = (*Memory)(nil)

// NewMemory makes an empty store that is set up and keeps everything forever.
func NewMemory() *Memory {
	m := newEmptyMemory()
	_ = m.Init(context.Background())
	return m
}

func newEmptyMemory() *Memory {
	return &Memory{
		runs:      map[string]*memoryRun{},
		keys:      map[string]memoryKey{},
		playbooks: map[string][]record.Playbook{},
		nodes:     map[record.NodeKey]record.Node{},
		schedules: map[string]record.Schedule{},
		freezes:   map[string]record.Freeze{},
	}
}

// Intercept passes every later call of a method that writes (BeginTerm, Apply, Create, Claim, Commit, SetWaiting, StampFinished, SaveNodes,
// ForgetNode, SaveSchedule, DeleteSchedule, DeleteFreeze) through interceptor, in the caller's goroutine. It gets the method's name and do, which makes the call: it may
// run do before or after waiting for something, or not at all, and returns the error of the method. nil removes it.
func (m *Memory) Intercept(interceptor func(method string, do func() error) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.interceptor = interceptor
}

// FailNext makes the next call of method return ErrUnavailable, whether it is applied or not. It replaces the interceptor.
func (m *Memory) FailNext(method string, applied bool) {
	m.Intercept(func(called string, do func() error) error {
		if called != method {
			return do()
		}
		m.Intercept(nil)
		if applied {
			if err := do(); err != nil {
				return err
			}
		}
		return fmt.Errorf("%s: %w", method, store.ErrUnavailable)
	})
}

// write passes a write through the interceptor, if there is one, and runs it as locked does.
func (m *Memory) write(ctx context.Context, method string, write func() error) error {
	m.mu.Lock()
	interceptor := m.interceptor
	m.mu.Unlock()
	do := func() error {
		return m.locked(ctx, write)
	}
	if interceptor != nil {
		return interceptor(method, do)
	}
	return do()
}

// locked runs do while nothing else uses the store, unless ctx has ended.
func (m *Memory) locked(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	return do()
}

// expire deletes what finished longer than the TTL ago.
func (m *Memory) expire() {
	if m.term == nil || m.term.FinishedTTL() == 0 {
		return
	}
	expired := time.Now().Add(-m.term.FinishedTTL())
	for id, run := range m.runs {
		if !run.run.Open() && run.run.FinishTS.Before(expired) {
			delete(m.runs, id)
		}
	}
	for key, kept := range m.keys {
		if kept.finishTS != nil && kept.finishTS.Before(expired) {
			delete(m.keys, key)
		}
	}
}

// Check finds out whether the store is set up and whether Init would refuse it.
func (m *Memory) Check(ctx context.Context) ([]string, error) {
	var wrong []string
	err := m.locked(ctx, func() error {
		switch {
		case m.term == nil:
			wrong = append(wrong, "the store is not set up: initialise it")
		case m.term.Schema > schemaVersion:
			wrong = append(wrong, "the store was written by a newer version: use that version")
		}
		return nil
	})
	return wrong, err
}

// Init creates the installation.
func (m *Memory) Init(ctx context.Context) error {
	return m.locked(ctx, func() error {
		if m.term == nil {
			created := m.config.NewTerm(rand.Text(), schemaVersion)
			m.term = &created
		}
		if m.term.Schema > schemaVersion {
			return fmt.Errorf("schema %d is newer than %d: %w", m.term.Schema, schemaVersion, store.ErrUnusable)
		}
		m.config.ChangeTTL(m.term)
		return nil
	})
}

// Maintain only waits for ctx to end.
func (m *Memory) Maintain(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close keeps everything: the store may be used again.
func (m *Memory) Close() error { return nil }

// Ping finds out whether Term would.
func (m *Memory) Ping(ctx context.Context) error {
	_, err := m.Term(ctx)
	return err
}

// Term reads the terms record.
func (m *Memory) Term(ctx context.Context) (record.Term, error) {
	var term record.Term
	err := m.locked(ctx, func() error {
		if m.term == nil {
			return fmt.Errorf("terms: %w", store.ErrNotFound)
		}
		term = *m.term
		return nil
	})
	return term, err
}

// BeginTerm begins a new term.
func (m *Memory) BeginTerm(ctx context.Context, floor int64) (record.Term, error) {
	var term record.Term
	err := m.write(ctx, "BeginTerm", func() error {
		if m.term == nil {
			return fmt.Errorf("terms: %w", store.ErrNotFound)
		}
		next, err := store.NextTerm(*m.term, floor)
		if err != nil {
			return err
		}
		m.term.Term = next
		term = *m.term
		return nil
	})
	return term, err
}

// fence refuses a term that is not the latest.
func (m *Memory) fence(term int64) error {
	switch {
	case m.term == nil:
		return fmt.Errorf("terms: %w", store.ErrNotFound)
	case m.term.Term > term:
		return fmt.Errorf("term %d has begun, this is term %d: %w", m.term.Term, term, store.ErrStaleTerm)
	case m.term.Term < term:
		return fmt.Errorf("the latest term is %d, this is term %d: %w", m.term.Term, term, store.ErrConflict)
	}
	return nil
}

// checkKeys refuses idempotency keys that are recorded already.
func (m *Memory) checkKeys(keys []record.IdempotencyRecord) error {
	for _, key := range keys {
		if recorded, ok := m.keys[key.Key]; ok {
			return store.KeyIsRecorded(recorded.IdempotencyRecord, key)
		}
	}
	return nil
}

// putKeys stores idempotency records.
func (m *Memory) putKeys(keys []record.IdempotencyRecord) {
	for _, key := range keys {
		m.keys[key.Key] = memoryKey{key, store.KeyFinishTS(key)}
	}
}

// IdempotencyRecord reads the record of a key.
func (m *Memory) IdempotencyRecord(ctx context.Context, key, digest string) (record.IdempotencyRecord, error) {
	var found record.IdempotencyRecord
	err := m.locked(ctx, func() error {
		recorded, ok := m.keys[key]
		if !ok {
			return fmt.Errorf("idempotency key %s: %w", key, store.ErrNotFound)
		}
		if err := store.MatchDigest(recorded.IdempotencyRecord, digest); err != nil {
			return err
		}
		found = recorded.IdempotencyRecord
		return nil
	})
	return found, err
}
