package cluster

import (
	"sync"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// Capacity grants what the runs of a cluster share: which of them may begin, and which has a node locked. All that it knows follows
// from the records of the open runs, so a new leader restores it before any of them continues. It is safe for concurrent use.
type Capacity struct {
	clock record.Clock // of the term

	// mu is taken before the locks of those who are told something, who do not call back.
	mu       sync.Mutex
	clusters map[string]*capacity
	queued   time.Time // the place in the queue that was given last
}

// capacity is what is granted in one cluster.
type capacity struct {
	places  []*place // by queued_ts and id
	locks   map[string]*lock
	waiters []*waiter            // in the order in which they began to wait
	freed   map[string]time.Time // when nodes were last given back
}

// run is a run as capacity sees it. Its methods must not block.
type run interface {
	// Queued tells the run that it is queued behind another one, or, where behind is empty, that it may begin.
	Queued(behind string)
	// Unlocked tells it that a node which it could not lock is worth another try.
	Unlocked(node string)
}

// NewCapacity makes a capacity of which nothing is granted.
func NewCapacity(clock record.Clock) *Capacity {
	return &Capacity{clock: clock, clusters: map[string]*capacity{}}
}

// of is the capacity of a cluster. The caller holds mu.
func (c *Capacity) of(cluster string) *capacity {
	if c.clusters[cluster] == nil {
		c.clusters[cluster] = &capacity{locks: map[string]*lock{}, freed: map[string]time.Time{}}
	}
	return c.clusters[cluster]
}

// tidy drops a cluster of which nothing is granted. The caller holds mu.
func (c *Capacity) tidy(cluster string) {
	if one := c.clusters[cluster]; one != nil && len(one.places) == 0 && len(one.locks) == 0 && len(one.waiters) == 0 {
		delete(c.clusters, cluster)
	}
}

// locked are the nodes of a cluster that runs have locked.
func (c *Capacity) locked(cluster string) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	nodes := map[string]bool{}
	if one := c.clusters[cluster]; one != nil {
		for node := range one.locks {
			nodes[node] = true
		}
	}
	return nodes
}
