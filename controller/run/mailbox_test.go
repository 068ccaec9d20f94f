package run

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

func TestARunIsWokenByTheClockOfItsTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clock record.Clock // centuries from the wall clock
		wake, began := clock.Now().Add(time.Minute), time.Now()
		posts, ok := newMailbox().Drain(t.Context(), clock, &wake, false, func(policy.Input) int { return 1 })
		if waited := time.Since(began); !ok || len(posts) != 1 || waited != time.Minute {
			t.Errorf("woken after %s instead of a minute, with %d inputs", waited, len(posts))
		}
	})
}
