//go:build !failpoints

package failpoint

import (
	"context"
	"net"
	"time"
)

// Point is a place at which a test can kill or stop the process.
func Point(string) {}

// Dial is dial, which a test can cut off from the peer.
func Dial(_ string, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return dial
}

// Wall reads the wall clock, which a test can step.
func Wall() time.Time { return time.Now() }

// Wrap is v, which a build with the tag can replace.
func Wrap[T any](_ string, v T) T { return v }
