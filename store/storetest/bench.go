package storetest

import (
	"testing"

	"github.com/replicante-io/playbooks/record"
)

// BenchmarkCreate10000 creates runs of 10,000 nodes.
func BenchmarkCreate10000(b *testing.B, backend Backend) {
	s := open(b, backend)
	term := beginTerm(b, s)
	for b.Loop() {
		b.StopTimer()
		commit := newRun(term, 10_000)
		b.StartTimer()
		must(b, s.Create(b.Context(), term, commit))
	}
}

// BenchmarkCommit1024 commits changes to 1,024 of 10,000 nodes, of about 1 KB each, with as many events.
func BenchmarkCommit1024(b *testing.B, backend Backend) {
	s := open(b, backend)
	term := beginTerm(b, s)
	run := create(b, s, term, 10_000)
	first := 0
	for b.Loop() {
		b.StopTimer()
		commit := nextCommit(run)
		for i := range 1024 {
			commit.Nodes = append(commit.Nodes, busyNode(run.ID, (first+i)%10_000))
		}
		first += 1024
		addEvents(&commit, 1024)
		b.StartTimer()
		must(b, s.Commit(b.Context(), term, commit))
		run = commit.Run
	}
}

// BenchmarkCommit1 commits a change to one node with one event.
func BenchmarkCommit1(b *testing.B, backend Backend) {
	s := open(b, backend)
	term := beginTerm(b, s)
	run := create(b, s, term, 1000)
	i := 0
	for b.Loop() {
		commit := nextCommit(run)
		commit.Nodes = []record.RunNode{busyNode(run.ID, i%1000)}
		i++
		addEvents(&commit, 1)
		must(b, s.Commit(b.Context(), term, commit))
		run = commit.Run
	}
}

// BenchmarkClaim10000 takes over a run of 10,000 nodes of about 1 KB each.
func BenchmarkClaim10000(b *testing.B, backend Backend) {
	s := open(b, backend)
	term := beginTerm(b, s)
	commit := newRun(term, 10_000)
	for i := range commit.Nodes {
		commit.Nodes[i] = busyNode(commit.Run.ID, i)
	}
	must(b, s.Create(b.Context(), term, commit))
	for b.Loop() {
		_, nodes, err := s.Claim(b.Context(), term, commit.Run.ID)
		must(b, err)
		if len(nodes) != 10_000 {
			b.Fatalf("%d nodes", len(nodes))
		}
	}
}
