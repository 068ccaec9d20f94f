//go:build failpoints

package record

import "time"

// ReplaceWallClock has Now and StartClock read another wall clock. It is for init functions.
func ReplaceWallClock(now func() time.Time) { wall = now }
