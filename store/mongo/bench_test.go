package mongo_test

import (
	"context"
	"testing"

	"github.com/replicante-io/playbooks/store/storetest"
)

func BenchmarkCreate10000(b *testing.B) { storetest.BenchmarkCreate10000(b, backend) }
func BenchmarkCommit1024(b *testing.B)  { storetest.BenchmarkCommit1024(b, backend) }
func BenchmarkCommit1(b *testing.B)     { storetest.BenchmarkCommit1(b, backend) }
func BenchmarkClaim10000(b *testing.B)  { storetest.BenchmarkClaim10000(b, backend) }

// BenchmarkTakeover begins a term and claims a run while the leader before holds both in an open transaction.
func BenchmarkTakeover(b *testing.B) {
	a := newDatabase(b)
	s := a.open(b)
	create := newRun(3)
	term, err := s.BeginTerm(b.Context(), 0)
	must(b, err)
	must(b, s.Create(b.Context(), term.Term, create))
	for b.Loop() {
		b.StopTimer()
		old := s
		s = a.open(b)
		holding, release := context.WithCancel(b.Context())
		held, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			_ = old.Hold(holding, term.Term, create.Run.ID, func() { close(held) })
		}()
		<-held
		b.StartTimer()
		term, err = s.BeginTerm(b.Context(), 0)
		must(b, err)
		_, _, err = s.Claim(b.Context(), term.Term, create.Run.ID)
		must(b, err)
		b.StopTimer()
		release()
		<-ended
		b.StartTimer()
	}
}
