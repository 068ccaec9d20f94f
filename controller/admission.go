package controller

import (
	"sync"

	"github.com/replicante-io/playbooks/record"
)

// admission decides which runs of a cluster may go on beside each other. The queue is fair: a run never passes one that
// came earlier, so that shared runs cannot starve an exclusive one.
type admission struct {
	mu       sync.Mutex
	clusters map[string][]*place
}

// place is a run's place in the queue of its cluster, from before it is created until it has ended.
type place struct {
	id          string
	concurrency record.Concurrency
	admitted    bool
	runner      *runner // nil until it runs
}

// enter takes the last place. Without queueing it refuses, with the run in the way, where the run would have to wait.
func (a *admission) enter(run *record.Run, admitted, queueing bool) (inTheWay string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	places := a.clusters[run.Cluster]
	if !queueing {
		if by := blocking(places, run.Concurrency); by != "" {
			return by
		}
	}
	a.clusters[run.Cluster] = append(places, &place{id: run.ID, concurrency: run.Concurrency, admitted: admitted})
	return ""
}

// blocking is the first of the places before a run that keeps it waiting; "" when none does.
func blocking(before []*place, concurrency record.Concurrency) string {
	for _, p := range before {
		if concurrency != record.Shared || p.concurrency != record.Shared {
			return p.id
		}
	}
	return ""
}

// attach says which runner to tell about the run's place.
func (a *admission) attach(r *runner) {
	a.mu.Lock()
	for _, p := range a.clusters[r.cluster] {
		if p.id == r.id {
			p.runner = r
		}
	}
	a.mu.Unlock()
	a.tell(r.cluster)
}

// leave gives the run's place up.
func (a *admission) leave(cluster, id string) {
	a.mu.Lock()
	places := a.clusters[cluster]
	for i, p := range places {
		if p.id == id {
			a.clusters[cluster] = append(places[:i:i], places[i+1:]...)
			break
		}
	}
	if len(a.clusters[cluster]) == 0 {
		delete(a.clusters, cluster)
	}
	a.mu.Unlock()
	a.tell(cluster)
}

// tell tells the runs that may go on so, and the others behind which run they wait.
func (a *admission) tell(cluster string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	places := a.clusters[cluster]
	for i, p := range places {
		if p.runner == nil {
			continue
		}
		behind := ""
		if !p.admitted {
			behind = blocking(places[:i], p.concurrency)
		}
		p.admitted = behind == ""
		p.runner.mailbox.Queue(behind)
	}
}
