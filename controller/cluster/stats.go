package cluster

import "github.com/replicante-io/playbooks/record"

// Stats counts the known nodes of a cluster.
type Stats struct {
	Status  map[record.Status]int
	Present int // with a live key
	// OutOfService counts those that a run has locked, or that are not HEALTHY.
	OutOfService int
}

// Stats counts the known nodes by cluster, from memory.
func (v *Inventory) Stats(capacity *Capacity) map[string]Stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	stats := make(map[string]Stats, len(v.nodes))
	for cluster, nodes := range v.nodes {
		s := Stats{Status: map[record.Status]int{}}
		locked := capacity.locked(cluster)
		for id, known := range nodes {
			s.Status[known.Status]++
			if known.Present {
				s.Present++
			}
			if locked[id] || known.Status != record.StatusHealthy {
				s.OutOfService++
			}
		}
		stats[cluster] = s
	}
	return stats
}
