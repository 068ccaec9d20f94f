package idempotency_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/replicante-io/playbooks/internal/idempotency"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// records is a store of idempotency records.
type records struct {
	mu    sync.Mutex
	kept  map[string]record.IdempotencyRecord
	finds int
	err   error // of find, if any
}

func (r *records) find(_ context.Context, key, digest string) (record.IdempotencyRecord, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finds++
	kept, found := r.kept[key]
	switch {
	case r.err != nil:
		return kept, r.err
	case !found:
		return kept, store.ErrNotFound
	case kept.Digest != digest:
		return kept, store.ErrKeyReused
	}
	return kept, nil
}

func (r *records) keep(key *record.IdempotencyRecord, answer string) error {
	if key == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.kept[key.Key]; there {
		return store.ErrExists
	}
	if r.kept == nil {
		r.kept = map[string]record.IdempotencyRecord{}
	}
	key.Answer = answer
	r.kept[key.Key] = *key
	return nil
}

// write answers answer, once.
func (r *records) write(key, answer string) idempotency.Write[string] {
	return idempotency.Write[string]{
		Request: record.Request{Key: key, Digest: "digest"},
		Find:    r.find,
		Replay:  func(_ context.Context, done record.IdempotencyRecord) (string, error) { return done.Answer, nil },
		Do: func(_ context.Context, key *record.IdempotencyRecord) (string, error) {
			return answer, r.keep(key, answer)
		},
	}
}

func TestARepeatedRequestGetsTheFirstAnswer(t *testing.T) {
	var keys idempotency.Keys
	var kept records
	for _, answer := range []string{"first", "second"} {
		got, err := idempotency.Do(t.Context(), &keys, kept.write("k", answer))
		if err != nil || got != "first" {
			t.Errorf("the request that would answer %s: %q, %v", answer, got, err)
		}
	}
}

func TestARequestWithoutAKeyIsCarriedOutEachTime(t *testing.T) {
	var keys idempotency.Keys
	var kept records
	for _, answer := range []string{"first", "second"} {
		got, err := idempotency.Do(t.Context(), &keys, kept.write("", answer))
		if err != nil || got != answer {
			t.Errorf("the request that answers %s: %q, %v", answer, got, err)
		}
	}
	if kept.finds != 0 {
		t.Errorf("the store was asked %d times for no key", kept.finds)
	}
}

func TestAnotherRequestUnderTheSameKeyIsRejected(t *testing.T) {
	var keys idempotency.Keys
	var kept records
	if _, err := idempotency.Do(t.Context(), &keys, kept.write("k", "first")); err != nil {
		t.Fatal(err)
	}
	other := kept.write("k", "second")
	other.Request.Digest = "another"
	if _, err := idempotency.Do(t.Context(), &keys, other); !errors.Is(err, store.ErrKeyReused) {
		t.Errorf("another request under the same key: %v", err)
	}
}

func TestARequestIsNotCarriedOutWhileItsKeyCannotBeLookedUp(t *testing.T) {
	var keys idempotency.Keys
	kept := records{err: store.ErrUnavailable}
	write := kept.write("k", "first")
	write.Do = func(context.Context, *record.IdempotencyRecord) (string, error) {
		t.Error("it was carried out")
		return "", nil
	}
	if _, err := idempotency.Do(t.Context(), &keys, write); !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}

func TestARequestThatAnotherLeaderCarriedOutMeanwhileGetsThatAnswer(t *testing.T) {
	var keys idempotency.Keys
	var kept records
	write := kept.write("k", "ours")
	do := write.Do
	write.Do = func(ctx context.Context, key *record.IdempotencyRecord) (string, error) {
		theirs := *key
		if err := kept.keep(&theirs, "theirs"); err != nil {
			t.Fatal(err)
		}
		return do(ctx, key)
	}
	if got, err := idempotency.Do(t.Context(), &keys, write); err != nil || got != "theirs" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAnErrExistsThatIsNotOfTheKeyIsReturned(t *testing.T) {
	var keys idempotency.Keys
	var kept records
	write := kept.write("k", "")
	write.Do = func(context.Context, *record.IdempotencyRecord) (string, error) { return "", store.ErrExists }
	if _, err := idempotency.Do(t.Context(), &keys, write); !errors.Is(err, store.ErrExists) {
		t.Error(err)
	}
}

func TestRequestsWithTheSameKeyWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var keys idempotency.Keys
		var kept records
		begun, finish := make(chan struct{}), make(chan struct{})
		first := kept.write("k", "first")
		do := first.Do
		first.Do = func(ctx context.Context, key *record.IdempotencyRecord) (string, error) {
			close(begun)
			<-finish
			return do(ctx, key)
		}
		var requests sync.WaitGroup
		requests.Go(func() {
			if got, err := idempotency.Do(t.Context(), &keys, first); err != nil || got != "first" {
				t.Errorf("the first: %q, %v", got, err)
			}
		})
		<-begun
		for range 2 {
			requests.Go(func() {
				if got, err := idempotency.Do(t.Context(), &keys, kept.write("k", "later")); err != nil || got != "first" {
					t.Errorf("a later one: %q, %v", got, err)
				}
			})
		}
		if got, err := idempotency.Do(t.Context(), &keys, kept.write("other", "other")); err != nil || got != "other" {
			t.Errorf("with another key: %q, %v", got, err)
		}
		gone, cancel := context.WithCancel(t.Context())
		requests.Go(func() {
			if _, err := idempotency.Do(gone, &keys, kept.write("k", "gone")); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("one that does not wait for the first: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(finish)
		requests.Wait()
	})
}
