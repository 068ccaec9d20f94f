package testenv

import (
	"net"
	"sync"
	"testing"
)

var given struct {
	sync.Mutex
	ports map[int]bool
}

// FreePort is a TCP port on loopback that nothing listens on, and that this process was not given before.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	return port
}

func freePort() (int, error) {
	given.Lock()
	defer given.Unlock()
	if given.ports == nil {
		given.ports = map[int]bool{}
	}
	for {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := listener.Addr().(*net.TCPAddr).Port
		listener.Close()
		if !given.ports[port] {
			given.ports[port] = true
			return port, nil
		}
	}
}
