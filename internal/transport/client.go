package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/replicante-io/playbooks/internal/failpoint"
)

// ErrTooLarge means that an answer is larger than its reader takes.
var ErrTooLarge = errors.New("the answer is too large")

// ClientConfig says how a client connects.
type ClientConfig struct {
	// Peer is the name in package failpoint of what is connected to; "" for what tests cannot cut off.
	Peer string
	// DialTimeout bounds connecting, and the TLS handshake after it.
	DialTimeout time.Duration
	// HeaderTimeout bounds the time from a request to the header of its answer; Timeout, everything up to the end of the
	// answer's body. 0: only the request's context does.
	HeaderTimeout, Timeout time.Duration
	// IdlePerHost is how many idle connections are kept to a host and port, Idle to all of them together (0: any number),
	// and IdleTimeout for how long.
	IdlePerHost, Idle int
	IdleTimeout       time.Duration
	// PerHost bounds the connections to a host and port; 0 does not.
	PerHost int
	// KeepSpare leaves the last file descriptors of the process to others: a request then fails with ErrNoDescriptors.
	KeepSpare bool
	// NewConnections gives each request a connection of its own.
	NewConnections bool
	// Address is connected to in the place of a URL's host and port, if it is not empty.
	Address string
	// ForPeople uses the proxy that the environment names, and follows redirects of reads.
	ForPeople bool
}

// maxRedirects is how often a read is redirected.
const maxRedirects = 10

// NewClient makes a client; it connects to nothing yet. A redirected write is never followed: it is answered with the redirect.
func NewClient(config ClientConfig) *http.Client {
	dialer := &net.Dialer{Timeout: config.DialTimeout, KeepAlive: 15 * time.Second}
	if config.KeepSpare {
		dialer.Control = keepSpare
	}
	dial := failpoint.Dial(config.Peer, dialer.DialContext)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, network, cmp.Or(config.Address, address))
		},
		TLSHandshakeTimeout:    config.DialTimeout,
		ResponseHeaderTimeout:  config.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeader,
		MaxIdleConns:           config.Idle,
		MaxIdleConnsPerHost:    config.IdlePerHost,
		MaxConnsPerHost:        config.PerHost,
		IdleConnTimeout:        config.IdleTimeout,
		DisableKeepAlives:      config.NewConnections,
		DisableCompression:     true, // a bound on an answer is one on what is sent
	}
	client := &http.Client{Transport: transport, Timeout: config.Timeout, CheckRedirect: refuseRedirect}
	if config.ForPeople {
		transport.Proxy = http.ProxyFromEnvironment
		client.CheckRedirect = redirectReads
	}
	return client
}

func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func redirectReads(_ *http.Request, via []*http.Request) error {
	if method := via[0].Method; method != http.MethodGet && method != http.MethodHead {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return fmt.Errorf("redirected %d times", len(via))
	}
	return nil
}

// ReadAll reads an answer's body of at most limit bytes; a larger one is ErrTooLarge.
func ReadAll(body io.Reader, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, limit)
	}
	return content, nil
}
