package election

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrDeposed means that this replica does not lead any more.
var ErrDeposed = errors.New("this replica does not lead any more")

// Leadership is one time of leading. It is good for as long as the context that came with it.
type Leadership struct {
	stand *stand
	self  Leader
	ended func() error // why its context ended, or nil
}

// Confirm proves by a linearizable read that this replica was still the leader when Confirm was called. Otherwise it
// returns ErrDeposed, or, when etcd did not answer, why it is not known.
func (l *Leadership) Confirm(ctx context.Context) error {
	at, err := l.stand.place(ctx)
	ended := l.ended()
	switch {
	case ended != nil:
		return fmt.Errorf("%w: %w", ErrDeposed, ended)
	case err != nil:
		return fmt.Errorf("confirm the leadership: %w", err)
	case at != first:
		return ErrDeposed
	}
	return nil
}

// Announce tells everyone who watches the election under which term this replica leads.
func (l *Leadership) Announce(ctx context.Context, term int64) error {
	self := l.self
	self.Term = term
	value, err := json.Marshal(self)
	if err != nil {
		return fmt.Errorf("encode election key: %w", err)
	}
	answer, err := l.stand.client.Txn(ctx).
		If(l.stand.stands()).
		Then(clientv3.OpPut(l.stand.key, string(value), clientv3.WithLease(l.stand.lease))).
		Commit()
	if err != nil {
		return fmt.Errorf("announce term %d: %w", term, err)
	}
	if !answer.Succeeded {
		return fmt.Errorf("announce term %d: %w", term, ErrDeposed)
	}
	return nil
}
