package chaos

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/internal/failpoint"
)

func TestASeedMakesTheSameScheduleAgain(t *testing.T) {
	one := Schedule(7, 10*time.Minute, 3*time.Second)
	if diff := cmp.Diff(one, Schedule(7, 10*time.Minute, 3*time.Second)); diff != "" {
		t.Error(diff)
	}
	if cmp.Equal(one, Schedule(8, 10*time.Minute, 3*time.Second)) {
		t.Error("another seed makes the same schedule")
	}
}

func TestTenMinutesHaveEveryKindOfFault(t *testing.T) {
	for seed := range uint64(20) {
		kinds := map[string]int{}
		last := map[string]time.Duration{}
		for _, f := range Schedule(seed, 10*time.Minute, 3*time.Second) {
			kinds[f.Kind()]++
			if f.At < last[f.Lane] {
				t.Errorf("seed %d: %s begins before the one before it has ended, at %s", seed, f, last[f.Lane])
			}
			last[f.Lane] = f.At + f.Lasts
		}
		for _, point := range []string{
			failpoint.Elected, failpoint.Claimed, failpoint.Creating, failpoint.Created, failpoint.Decided, failpoint.Committed, failpoint.Sending, failpoint.Sent, failpoint.Answered, failpoint.Stamping,
		} {
			for _, do := range []string{"trap-kill", "trap-stop"} {
				if kinds[do+" leader at "+point] == 0 {
					t.Errorf("seed %d: no %s at %q", seed, do, point)
				}
			}
		}
		for _, kind := range []string{"kill leader", "kill etcd quorum", "kill mongod quorum", "kill primary", "freeze primary", "kill agent", "kill busy agent", "cut leader from etcd"} {
			if kinds[kind] == 0 {
				t.Errorf("seed %d: no %s", seed, kind)
			}
		}
	}
}
