package cluster

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// firstPort and lastPort are below the ports that Linux gives to outgoing connections (ip_local_port_range): a server that
// is restarted finds its port free.
const firstPort, lastPort = 17000, 31999

var givenPorts = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// FreePort returns a TCP port on loopback that nothing listens on and that this process has not returned before.
func FreePort() (int, error) {
	givenPorts.Lock()
	defer givenPorts.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if givenPorts.ports[port] {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		listener.Close()
		givenPorts.ports[port] = true
		return port, nil
	}
	return 0, errors.New("1,000 random ports are all in use")
}
