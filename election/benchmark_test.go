package election_test

import (
	"fmt"
	"testing"

	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
)

// BenchmarkHandover measures the time from a resignation to the next leader.
func BenchmarkHandover(b *testing.B) {
	e := newElections(b, etcdtest.Start(b, 3), "/handover")
	for _, name := range []string{"one", "two", "three"} {
		e.candidate(name, longLease, nil)
	}
	l := e.winner()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		e.queued(3)
		b.StartTimer()
		l.end <- nil
		l = e.winner()
	}
}

// BenchmarkDeadLeaderReplaced measures the time from the death of a leader's process to the next leader.
func BenchmarkDeadLeaderReplaced(b *testing.B) {
	cluster := etcdtest.Start(b, 3)
	for i := range b.N {
		b.StopTimer()
		e := newElections(b, cluster, fmt.Sprintf("/death-%d", i))
		one, port := e.reachable("one", longLease)
		e.winner()
		two := e.candidate("two", longLease, nil)
		e.queued(2)
		port.held(1)
		b.StartTimer()
		one.die(port)
		e.winner()
		b.StopTimer()
		one.stop()
		two.stop()
		b.StartTimer()
	}
}
