package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/membership"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/storetest"
)

// forgettingStore calls back while a node is being forgotten.
type forgettingStore struct {
	store.Store
	forgetting func()
}

func (s forgettingStore) ForgetNode(ctx context.Context, term int64, key record.NodeKey, idempotency *record.IdempotencyRecord) error {
	err := s.Store.ForgetNode(ctx, term, key, idempotency)
	s.forgetting()
	return err
}

// TestALiveNodeIsNeverForgotten: a node comes back in the moment in which it is forgotten.
func TestALiveNodeIsNeverForgotten(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	memory := storetest.NewMemory()
	if err := memory.Init(ctx); err != nil {
		t.Fatal(err)
	}
	term, err := memory.BeginTerm(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	long := record.Now().Add(-100 * time.Hour)
	gone := record.Node{NodeID: "n", ClusterID: "c", AgentURL: "http://n", GoneTS: &long, Status: record.StatusUnreachable}
	if err := memory.SaveNodes(ctx, term.Term, []record.Node{gone}); err != nil {
		t.Fatal(err)
	}
	var v *Inventory
	back := make(chan struct{})
	v = NewInventory(InventoryConfig{
		Clock: record.StartClock(),
		Term:  term.Term, ForgetAfter: time.Hour, Concurrency: 1, Log: hclog.NewNullLogger(),
		Changed: func(string, bool, []record.Node, []string) {},
		Store: forgettingStore{memory, func() {
			key := membership.Change{Node: membership.Node{NodeID: "n", ClusterID: "c", AgentURL: "http://n"}}
			if err := v.Deliver(membership.Update{Changes: []membership.Change{key}}); err != nil {
				t.Error(err)
			}
			close(back)
		}},
	})
	if err := v.Load(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- v.Expire(ctx, NewCapacity(v.Clock)) }()
	<-back
	go func() { ended <- v.Save(ctx) }()
	for {
		if node, err := memory.Node(ctx, record.NodeKey{Cluster: "c", Node: "n"}); err == nil && node.Present {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the node is not saved again")
		}
		time.Sleep(time.Millisecond)
	}
	if known := v.Known("c"); len(known) != 1 || !known[0].Present {
		t.Errorf("known: %+v", known)
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
