// Package idempotency carries a write out once under its Idempotency-Key, however often it is requested.
//
// A write stores a record of its key together with its effect, in one commit. A request whose key is recorded already gets
// the answer of the first one; two requests with the same key in one process wait for each other; and where two leaders
// carry out the same request, the store refuses the second one (store.ErrExists), which then gets the answer of the first.
//
//	run, err := idempotency.Do(ctx, &l.keys, idempotency.Write[record.Run]{
//		Request: request,
//		Find:    l.store.IdempotencyRecord,
//		Replay:  func(ctx context.Context, done record.IdempotencyRecord) (record.Run, error) { return l.store.Run(ctx, done.RunID) },
//		Do: func(ctx context.Context, key *record.IdempotencyRecord) (record.Run, error) {
//			// … set key.RunID where key is not nil, and commit it with the effect.
//		},
//	})
package idempotency

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Write is one request that writes, and how to carry it out.
type Write[T any] struct {
	Request record.Request
	// Find reads what was recorded under a key: store.Store's IdempotencyRecord.
	Find func(ctx context.Context, key, digest string) (record.IdempotencyRecord, error)
	// Replay makes the answer of a request that was carried out before from its record.
	Replay func(ctx context.Context, done record.IdempotencyRecord) (T, error)
	// Do carries the request out. It must store key in the same commit as its effect; key is nil where the request has none.
	// An error that is store.ErrExists means that the key may have been recorded meanwhile.
	Do func(ctx context.Context, key *record.IdempotencyRecord) (T, error)
}

// Keys are the idempotency keys of the requests that this process carries out now. The zero value is ready for use.
type Keys struct {
	mu   sync.Mutex
	held map[string]chan struct{} // each closed on release
}

// Do carries w out under ctx, unless its key was recorded before. It waits first for other requests with the same key;
// where ctx ends meanwhile, the error is store.ErrUnavailable.
func Do[T any](ctx context.Context, keys *Keys, w Write[T]) (T, error) {
	release, err := keys.hold(ctx, w.Request.Key)
	if err != nil {
		var none T
		return none, err
	}
	defer release()
	return w.once(ctx)
}

// hold waits until no other request holds key, and holds it until release.
func (k *Keys) hold(ctx context.Context, key string) (release func(), err error) {
	if key == "" {
		return func() {}, nil
	}
	for {
		k.mu.Lock()
		other := k.held[key]
		if other == nil {
			mine := make(chan struct{})
			if k.held == nil {
				k.held = map[string]chan struct{}{}
			}
			k.held[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.held, key)
				k.mu.Unlock()
				close(mine)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("another request with idempotency key %s is in progress: %w", key, store.ErrUnavailable)
		}
	}
}

// once replays w where its key is recorded, before or by somebody else meanwhile, and otherwise carries it out.
func (w Write[T]) once(ctx context.Context) (T, error) {
	if w.Request.Key == "" {
		return w.Do(ctx, nil)
	}
	value, found, err := w.replay(ctx)
	if found || err != nil {
		return value, err
	}
	value, err = w.Do(ctx, &record.IdempotencyRecord{Key: w.Request.Key, Digest: w.Request.Digest})
	if errors.Is(err, store.ErrExists) {
		if value, found, findErr := w.replay(ctx); found || findErr != nil {
			return value, findErr
		}
	}
	return value, err
}

func (w Write[T]) replay(ctx context.Context) (value T, found bool, err error) {
	done, err := w.Find(ctx, w.Request.Key, w.Request.Digest)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return value, false, nil
	case err != nil:
		return value, false, fmt.Errorf("find idempotency key %s: %w", w.Request.Key, err)
	}
	value, err = w.Replay(ctx, done)
	if err != nil {
		return value, true, fmt.Errorf("repeat the answer to idempotency key %s: %w", w.Request.Key, err)
	}
	return value, true, nil
}
