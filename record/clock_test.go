package record

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAStepOfTheWallClockDoesNotMoveAClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func() { wall = time.Now }()
		clock, began := StartClock(), Now()
		for _, step := range []time.Duration{time.Hour, -time.Hour} {
			wall = func() time.Time { return time.Now().Add(step) }
			time.Sleep(1500 * time.Millisecond)
			began = began.Add(1500 * time.Millisecond)
			if now := clock.Now(); !now.Equal(began) {
				t.Errorf("after a step of %s it is %s instead of %s", step, now, began)
			}
			if now := StartClock().Now(); !now.Equal(began.Add(step)) {
				t.Errorf("after a step of %s another clock starts at %s", step, now)
			}
		}
	})
}
