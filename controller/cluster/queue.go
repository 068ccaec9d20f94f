package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// place is a run's place in the queue of its cluster, from before it is created until it has ended.
type place struct {
	id          string
	queued      time.Time
	concurrency record.Concurrency
	admitted    bool
	run         run // nil until it is attached
}

func (p *place) compare(other *place) int {
	return cmp.Or(p.queued.Compare(other.queued), cmp.Compare(p.id, other.id))
}

// conflicts reports whether two runs may not be advanced at the same time.
func (p *place) conflicts(other *place) bool {
	return p.concurrency != record.Shared || other.concurrency != record.Shared
}

// Enter gives a new run the last place in the queue of its cluster and sets its QueuedTS. Places are in the order of this leader's own
// sequence, whatever its clock does. With ifFree the run is refused, and the run that is in the way returned, where it would
// have to wait.
func (c *Capacity) Enter(r *record.Run, ifFree bool) (inTheWay string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(r.Cluster)
	p := &place{id: r.ID, concurrency: r.Concurrency, queued: c.clock.Now()}
	if next := c.queued.Add(time.Millisecond); p.queued.Before(next) {
		p.queued = next
	}
	one.places = append(one.places, p)
	if by := one.blocking(p); by != "" && ifFree {
		one.places = one.places[:len(one.places)-1]
		return by
	}
	c.queued = p.queued
	r.QueuedTS = &p.queued
	return ""
}

// Restore gives a claimed run the place that it had. A run that has begun keeps what it was granted.
func (c *Capacity) Restore(r *record.Run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restore(r)
}

// restore is Restore. The caller holds mu.
func (c *Capacity) restore(r *record.Run) {
	one := c.of(r.Cluster)
	p := &place{id: r.ID, concurrency: r.Concurrency, queued: r.CreatedTS, admitted: r.State != record.RunPending}
	if r.QueuedTS != nil {
		p.queued = *r.QueuedTS
	}
	if p.queued.After(c.queued) {
		c.queued = p.queued
	}
	at, _ := slices.BinarySearchFunc(one.places, p, (*place).compare)
	one.places = slices.Insert(one.places, at, p)
}

// Enqueue gives a run that was approved the place that its QueuedTS says, unless it has it, and tells it about it.
func (c *Capacity) Enqueue(r *record.Run, tell run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(r.Cluster)
	at := slices.IndexFunc(one.places, func(p *place) bool { return p.id == r.ID })
	if at < 0 {
		c.restore(r)
		at = slices.IndexFunc(one.places, func(p *place) bool { return p.id == r.ID })
	}
	one.places[at].run = tell
	one.admit()
}

// InTheWay is a run that a new run would have to wait for now; "" where there is none.
func (c *Capacity) InTheWay(r *record.Run) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.tidy(r.Cluster)
	return c.of(r.Cluster).blocking(&place{id: r.ID, concurrency: r.Concurrency})
}

// blocking is a run that keeps the one at p from beginning; "" when none does. Whatever was admitted does, wherever it is in the queue;
// else whatever is before it, so that shared runs cannot starve an exclusive one.
func (one *capacity) blocking(p *place) string {
	before := true
	by := ""
	for _, other := range one.places {
		switch {
		case other == p:
			before = false
		case !p.conflicts(other):
		case other.admitted:
			return other.id
		case before && by == "":
			by = other.id
		}
	}
	return by
}

// Attach says whom to tell about the place of a run, and tells it.
func (c *Capacity) Attach(cluster, id string, r run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	for _, p := range one.places {
		if p.id == id {
			p.run = r
		}
	}
	one.admit()
	c.tidy(cluster)
}

// Leave gives the place of a run up.
func (c *Capacity) Leave(cluster, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of(cluster)
	one.places = slices.DeleteFunc(one.places, func(p *place) bool { return p.id == id })
	one.admit()
	c.tidy(cluster)
}

// admit admits the runs that may begin, and tells the others which run they wait for. The caller holds mu.
func (one *capacity) admit() {
	for _, p := range one.places {
		if p.run == nil {
			continue
		}
		behind := ""
		if !p.admitted {
			behind = one.blocking(p)
		}
		p.admitted = behind == ""
		p.run.Queued(behind)
	}
}
