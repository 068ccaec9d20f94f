package record

import "time"

// wall reads the wall clock.
var wall = time.Now

// Now is the present as records hold it: UTC, whole milliseconds.
func Now() time.Time { return Time(wall()) }

// Clock is the wall clock as it was when the Clock was started, continued by the monotonic clock: it never goes back, and a step of
// the wall clock does not change it.
type Clock struct {
	wall  time.Time
	start time.Time // by the monotonic clock
}

// StartClock starts a Clock.
func StartClock() Clock { return Clock{wall: wall().Round(0), start: time.Now()} }

// Now is the present as records hold it.
func (c Clock) Now() time.Time { return Time(c.wall.Add(time.Since(c.start))) }
