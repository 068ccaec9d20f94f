package election

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrNotLeader means that this replica is no longer the leader.
var ErrNotLeader = errors.New("this replica is no longer the leader")

// Leadership is one time of leading. It is valid for as long as the context that came with it.
type Leadership struct {
	candidacy *candidacy
	self      Leader
	ended     <-chan struct{} // closed when the context has ended
}

// Confirm proves by a linearizable read that this replica was still the leader when Confirm was called. Otherwise it
// returns ErrNotLeader, or, when etcd did not answer, why that is not known.
func (l *Leadership) Confirm(ctx context.Context) error {
	at, err := l.candidacy.position(ctx)
	select {
	case <-l.ended:
		return ErrNotLeader
	default:
	}
	switch {
	case err != nil:
		return fmt.Errorf("confirm the leadership: %w", err)
	case at != positionFirst:
		return ErrNotLeader
	}
	return nil
}

// Announce publishes, in the election key, under which term this replica leads.
func (l *Leadership) Announce(ctx context.Context, term int64) error {
	self := l.self
	self.Term = term
	value, err := json.Marshal(self)
	if err != nil {
		return fmt.Errorf("encode election key: %w", err)
	}
	answer, err := l.candidacy.client.Txn(ctx).
		If(l.candidacy.exists()).
		Then(clientv3.OpPut(l.candidacy.key, string(value), clientv3.WithLease(l.candidacy.lease))).
		Commit()
	if err != nil {
		return fmt.Errorf("announce term %d: %w", term, err)
	}
	if !answer.Succeeded {
		return fmt.Errorf("announce term %d: %w", term, ErrNotLeader)
	}
	return nil
}
