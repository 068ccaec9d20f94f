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

// schema is the version of what Memory keeps, for the suite's sake.
const schema = 1

// Memory is a store.Store in memory, for tests: it does what the suite asks of every store, without I/O, goroutines or
// timers, so that it may be used inside testing/synctest. What expires does so as soon as anybody looks.
type Memory struct {
	mu        sync.Mutex
	ttl       time.Duration
	term      *record.Term // nil before Init
	runs      map[string]*memoryRun
	effects   map[string]memoryIdempotency
	playbooks map[string][]record.Playbook // by name, by revision
	known     map[record.NodeKey]record.Node
	intercept func(op string, do func() error) error
}

// memoryRun is a run with its records. changed is closed, and made anew, when events were added.
type memoryRun struct {
	run     record.Run
	nodes   map[string]record.RunNode
	events  []record.Event
	changed chan struct{}
}

type memoryIdempotency struct {
	record.IdempotencyRecord
	finishTS *time.Time
}

var _ store.Store = (*Memory)(nil)

// NewMemory makes an empty store on which Init was called; it keeps everything for ever.
func NewMemory() *Memory {
	m := newMemory()
	_ = m.Init(context.Background())
	return m
}

func newMemory() *Memory {
	return &Memory{
		runs:      map[string]*memoryRun{},
		effects:   map[string]memoryIdempotency{},
		playbooks: map[string][]record.Playbook{},
		known:     map[record.NodeKey]record.Node{},
	}
}

// Intercept has every later call of a method that writes (Lead, Apply, Create, Claim, Commit, StampFinished, SaveNodes, ForgetNode)
// go through around, which is given the method's name: it may call do, which does the work, before or after waiting for
// something, or not at all, and says what is answered. nil ends it. It is called from the writer's goroutine.
func (m *Memory) Intercept(around func(op string, do func() error) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.intercept = around
}

// FailNext makes the next call of op answer ErrUnavailable, after it has landed or without landing. It replaces what
// Intercept set.
func (m *Memory) FailNext(op string, landed bool) {
	m.Intercept(func(called string, do func() error) error {
		if called != op {
			return do()
		}
		m.Intercept(nil)
		if landed {
			if err := do(); err != nil {
				return err
			}
		}
		return fmt.Errorf("%s: %w", op, store.ErrUnavailable)
	})
}

// write does one write, alone, unless ctx has ended or an interceptor keeps it from happening.
func (m *Memory) write(ctx context.Context, op string, write func() error) error {
	m.mu.Lock()
	around := m.intercept
	m.mu.Unlock()
	do := func() error {
		return m.locked(ctx, write)
	}
	if around != nil {
		return around(op, do)
	}
	return do()
}

func (m *Memory) locked(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	return do()
}

// expire forgets what was finished longer than the TTL ago.
func (m *Memory) expire() {
	if m.ttl == 0 {
		return
	}
	old := time.Now().Add(-m.ttl)
	for id, run := range m.runs {
		if run.run.Stamped && run.run.FinishTS.Before(old) {
			delete(m.runs, id)
		}
	}
	for key, effect := range m.effects {
		if effect.finishTS != nil && effect.finishTS.Before(old) {
			delete(m.effects, key)
		}
	}
}

// Check finds nothing wrong, but that Init was not called or would refuse.
func (m *Memory) Check(ctx context.Context) ([]string, error) {
	var wrong []string
	err := m.locked(ctx, func() error {
		switch {
		case m.term == nil:
			wrong = append(wrong, "the store is not set up: initialise it")
		case m.term.Schema > schema:
			wrong = append(wrong, "the store is of a newer version: use that")
		}
		return nil
	})
	return wrong, err
}

// Init makes the installation.
func (m *Memory) Init(ctx context.Context) error {
	return m.locked(ctx, func() error {
		if m.term == nil {
			m.term = &record.Term{Installation: rand.Text(), Schema: schema}
		}
		if m.term.Schema > schema {
			return fmt.Errorf("schema %d is newer than %d: %w", m.term.Schema, schema, store.ErrUnusable)
		}
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
		m.term.Term = max(m.term.Term, floor) + 1
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
		return fmt.Errorf("term %d, now %d: %w", term, m.term.Term, store.ErrStaleTerm)
	case m.term.Term < term:
		return fmt.Errorf("term %d, still %d: %w", term, m.term.Term, store.ErrConflict)
	}
	return nil
}

// free refuses idempotency keys that are there already.
func (m *Memory) free(effects []record.IdempotencyRecord) error {
	for _, effect := range effects {
		was, used := m.effects[effect.Key]
		switch {
		case used && was.Digest != effect.Digest:
			return fmt.Errorf("key %s: %w", effect.Key, store.ErrKeyReused)
		case used:
			return fmt.Errorf("key %s: %w", effect.Key, store.ErrExists)
		}
	}
	return nil
}

// keep stores effects; those of no run live from now on as long as a run that ends now.
func (m *Memory) keep(effects []record.IdempotencyRecord) {
	for _, effect := range effects {
		kept := memoryIdempotency{IdempotencyRecord: effect}
		if effect.RunID == "" {
			now := record.Now()
			kept.finishTS = &now
		}
		m.effects[effect.Key] = kept
	}
}

// IdempotencyRecord finds what a write did.
func (m *Memory) IdempotencyRecord(ctx context.Context, key, digest string) (record.IdempotencyRecord, error) {
	var found record.IdempotencyRecord
	err := m.locked(ctx, func() error {
		effect, ok := m.effects[key]
		switch {
		case !ok:
			return fmt.Errorf("key %s: %w", key, store.ErrNotFound)
		case effect.Digest != digest:
			return fmt.Errorf("key %s: %w", key, store.ErrKeyReused)
		}
		found = effect.IdempotencyRecord
		return nil
	})
	return found, err
}
