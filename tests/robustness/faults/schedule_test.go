package faults

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
		ends := map[string]time.Duration{}
		for _, f := range Schedule(seed, 10*time.Minute, 3*time.Second) {
			kinds[f.Kind()]++
			if f.At < ends[f.Track] {
				t.Errorf("seed %d: %s begins before the fault before it has ended, at %s", seed, f, ends[f.Track])
			}
			ends[f.Track] = f.At + f.Lasts
		}
		for _, point := range points {
			for _, action := range []string{"kill", "stop"} {
				if kinds[action+" leader at "+point] == 0 {
					t.Errorf("seed %d: no fault %s leader at %q", seed, action, point)
				}
			}
		}
		for _, kind := range []string{
			"kill leader", "kill etcd quorum", "kill mongod quorum", "kill primary", "freeze primary", "kill agent", "kill busy agent", "disconnect leader from etcd",
			"kill gentle agent", "terminate gentle agent", "slow probe of gentle agent", "step clock of gentle agent", "step clock of agent",
			"step clock of leader", "step clock of next leader", "hostile foreign agent",
		} {
			if kinds[kind] == 0 {
				t.Errorf("seed %d: no fault %s", seed, kind)
			}
		}
	}
}
