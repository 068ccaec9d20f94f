package rig

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// firstPort and lastPort are below the ports that Linux gives to whoever connects somewhere (ip_local_port_range): a
// server that is restarted finds its port free.
const firstPort, lastPort = 17000, 31999

var given struct {
	sync.Mutex
	ports map[int]bool
}

// FreePort is a TCP port on loopback that nothing listens on, and that this process was not given before.
func FreePort() (int, error) {
	given.Lock()
	defer given.Unlock()
	if given.ports == nil {
		given.ports = map[int]bool{}
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if given.ports[port] {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		listener.Close()
		given.ports[port] = true
		return port, nil
	}
	return 0, errors.New("1,000 random ports are all in use")
}
