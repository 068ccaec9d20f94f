//go:build !faults

package failpoint

import (
	"context"
	"net"
)

// Enabled tells whether this build can be broken.
const Enabled = false

// Point is a place at which a process can be killed or stopped.
func Point(string) {}

// Dial is dial, as long as nobody cuts the process off from the peer.
func Dial(_ string, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return dial
}

// Broken tells whether a promise is broken on purpose.
func Broken(string) bool { return false }
