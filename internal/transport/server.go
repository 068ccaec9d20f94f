// Package transport makes every HTTP server and client of the product, so that each has time limits, bounds on memory and
// connections, and, in the programs built for it, faults that can be injected. It is where a request's caller is identified.
package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"
)

// ServerConfig is what a server serves, and its limits. Those that are 0 have the defaults below.
type ServerConfig struct {
	Handler http.Handler
	// Guard is in front of Handler; nil: none.
	Guard *Guard
	// MaxBody is how large a request's body may be; reading further is an *http.MaxBytesError. As much memory as a few such bodies
	// take is used for all that are being received: the others wait.
	MaxBody int64
	// MaxConnections is how many connections may be open at a time. At this bound the connection that has been idle the
	// longest is closed for a new one; where none is idle, the new one waits.
	MaxConnections int
	// HeaderTimeout is how long a client may take to send a request's header; BodyTimeout, its body.
	HeaderTimeout, BodyTimeout time.Duration
	// WriteTimeout is how long a client may take to accept a part of an answer (at most maxWrite bytes). An answer may take
	// as long as its handler does.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection is kept between two requests.
	IdleTimeout time.Duration
	// DrainTimeout is how long requests may take to end once Serve is asked to stop.
	DrainTimeout time.Duration
	Log          hclog.Logger
}

const (
	defaultMaxBody        = 4 << 20
	defaultMaxConnections = 4096
	defaultTimeout        = 30 * time.Second
	defaultHeaderTimeout  = 10 * time.Second
	defaultIdleTimeout    = 2 * time.Minute
	defaultDrainTimeout   = 3 * time.Second

	// maxHeader bounds a header, of requests and of answers; maxWrite, what is written under one write timeout.
	maxHeader = 64 << 10
	maxWrite  = 64 << 10
)

// Server answers HTTP requests.
type Server struct {
	config  ServerConfig
	handler http.Handler
	room    *semaphore.Weighted // in bytes, for the bodies of all requests
}

// NewServer makes a server; it starts nothing.
func NewServer(config ServerConfig) *Server {
	if config.MaxBody == 0 {
		config.MaxBody = defaultMaxBody
	}
	if config.MaxConnections == 0 {
		config.MaxConnections = defaultMaxConnections
	}
	for timeout, value := range map[*time.Duration]time.Duration{
		&config.HeaderTimeout: defaultHeaderTimeout, &config.BodyTimeout: defaultTimeout, &config.WriteTimeout: defaultTimeout,
		&config.IdleTimeout: defaultIdleTimeout, &config.DrainTimeout: defaultDrainTimeout,
	} {
		if *timeout == 0 {
			*timeout = value
		}
	}
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	if config.Guard != nil {
		config.Handler = config.Guard.Handler(config.Handler)
	}
	s := &Server{config: config, room: semaphore.NewWeighted(largeBodies * config.MaxBody)}
	s.handler = http.HandlerFunc(s.serve)
	return s
}

// Handler is the configured handler with the server's limits on bodies and answers around it, and with the caller in its
// requests' contexts. It is for servers that tests make.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers on listener until ctx ends (nil), or the listener fails. Requests' contexts end with ctx; what has not been
// answered within DrainTimeout after that is cut off. It closes listener. Whoever closes it before lets no new connection in:
// Serve still answers on those that it has until ctx ends.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	bounded := newBoundedListener(listener, s.config.MaxConnections)
	server := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: s.config.HeaderTimeout, IdleTimeout: s.config.IdleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnState:   bounded.observe,
		ErrorLog:    s.config.Log.StandardLogger(&hclog.StandardLoggerOptions{InferLevels: true}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(bounded) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- err
		if errors.Is(err, net.ErrClosed) {
			<-ctx.Done()
		}
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.DrainTimeout)
	defer cancel()
	if server.Shutdown(draining) != nil {
		_ = server.Close()
	}
	err = <-served
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	out := &answer{ResponseWriter: w, control: http.NewResponseController(w), timeout: s.config.WriteTimeout}
	r = r.WithContext(withCaller(r))
	if r.Body != nil && r.Body != http.NoBody {
		out.extend() // reading the body may write "100 Continue"
		received := newBody(r, out.control, &s.config, s.room)
		defer received.release()
		r.Body = http.MaxBytesReader(w, received, s.config.MaxBody)
	}
	s.config.Handler.ServeHTTP(out, r)
	out.extend() // what is buffered is written after the handler
}

// answer gives every part of an answer a deadline of its own.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

func (a *answer) extend() { _ = a.control.SetWriteDeadline(time.Now().Add(a.timeout)) }

func (a *answer) Write(p []byte) (int, error) {
	written := 0
	for {
		part := p[written:min(len(p), written+maxWrite)]
		a.extend()
		n, err := a.ResponseWriter.Write(part)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// FlushError is for http.ResponseController.
func (a *answer) FlushError() error {
	a.extend()
	return a.control.Flush()
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
