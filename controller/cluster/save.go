package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

const (
	// saveEvery is how often known nodes are saved at most; saveMax and saveBytes how many by one write, and about how large.
	saveEvery = 100 * time.Millisecond
	saveMax   = 1000
	saveBytes = 4 << 20
	// forgetEvery is how often nodes are looked for that have had no key for too long.
	forgetEvery = time.Minute
)

func (v *Inventory) wakeSaver() {
	select {
	case v.save <- struct{}{}:
	default:
	}
}

// Save writes known nodes as they change, many by one write, until ctx ends (nil). It tries again while the store does not
// answer; any other error makes leading pointless.
func (v *Inventory) Save(ctx context.Context) error {
	for {
		select {
		case <-v.save:
		case <-ctx.Done():
			return nil
		}
		if err := v.saveDirty(ctx); err != nil {
			return err
		}
		if !retry.Sleep(ctx, saveEvery) {
			return nil
		}
	}
}

func (v *Inventory) saveDirty(ctx context.Context) error {
	backoff, failing := store.Backoff(), false
	for {
		batch := v.takeDirty()
		if len(batch) == 0 {
			return nil
		}
		err := v.saveBatch(ctx, batch)
		switch {
		case err == nil:
			backoff.Reset()
			failing = false
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrStaleTerm):
			return fmt.Errorf("save known nodes: %w", err)
		case !failing:
			v.Log.Warn("cannot save known nodes; trying again until it works", "error", err)
		}
		failing = true
		v.putBack(batch)
		if !backoff.Wait(ctx) {
			return nil
		}
	}
}

// saveBatch saves nodes. One that cannot be stored keeps no other from being saved: it is saved without its facts.
func (v *Inventory) saveBatch(ctx context.Context, batch []record.Node) error {
	err := v.Store.SaveNodes(ctx, v.Term, batch)
	if !errors.Is(err, store.ErrNotStorable) {
		return err
	}
	if half := len(batch) / 2; half > 0 {
		if err := v.saveBatch(ctx, batch[:half]); err != nil {
			return err
		}
		return v.saveBatch(ctx, batch[half:])
	}
	bare := batch[0]
	v.Log.Error("what is known of a node cannot be stored; its facts are dropped", "cluster", bare.ClusterID, "node", bare.NodeID, "error", err)
	bare.DropFacts("the facts of the node cannot be stored: " + err.Error())
	if err := v.Store.SaveNodes(ctx, v.Term, []record.Node{bare}); !errors.Is(err, store.ErrNotStorable) {
		return err
	}
	return nil // it is known in memory only
}

func (v *Inventory) takeDirty() []record.Node {
	v.mu.Lock()
	defer v.mu.Unlock()
	var batch []record.Node
	bytes := 0
	for key := range v.dirty {
		if len(batch) == saveMax || bytes > saveBytes {
			break
		}
		delete(v.dirty, key)
		if known := v.nodes[key.Cluster][key.Node]; known != nil {
			batch = append(batch, *known)
			bytes += known.Size()
		}
	}
	return batch
}

func (v *Inventory) putBack(batch []record.Node) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range batch {
		v.dirty[batch[i].Key()] = struct{}{}
	}
}

// Expire forgets nodes that have had no key for longer than ForgetAfter, until ctx ends (nil). Those that a run has locked stay known:
// an action may still be running on them.
func (v *Inventory) Expire(ctx context.Context, capacity *Capacity) error {
	ticker := time.NewTicker(forgetEvery)
	defer ticker.Stop()
	for {
		for _, key := range v.expired(v.Clock.Now()) {
			if capacity.locked(key.Cluster)[key.Node] {
				continue
			}
			err := v.Store.ForgetNode(ctx, v.Term, key, nil)
			switch {
			case err == nil, errors.Is(err, store.ErrNotFound):
				v.Forget(key)
				v.Log.Info("forgot a node that had no key for too long", "cluster", key.Cluster, "node", key.Node)
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, store.ErrStaleTerm):
				return fmt.Errorf("forget node %s: %w", key.Node, err)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (v *Inventory) expired(now time.Time) []record.NodeKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	var keys []record.NodeKey
	for _, nodes := range v.nodes {
		for _, known := range nodes {
			if !known.Present && known.GoneTS != nil && now.Sub(*known.GoneTS) > v.ForgetAfter {
				keys = append(keys, known.Key())
			}
		}
	}
	return keys
}
