package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
)

// CallerHeader is where a client says who it works for. Nothing proves it.
const CallerHeader = "Replicante-Actor"

// ErrBadCaller means that a request's CallerHeader cannot be recorded.
var ErrBadCaller = errors.New(CallerHeader + " must be at most 128 printable ASCII characters")

const maxCaller = 128

// Caller is who made a request.
type Caller struct {
	// Name is what the caller is recorded as: what CallerHeader says, and without it the client's address.
	Name string
}

// SetCaller makes request one of caller.
func SetCaller(request *http.Request, caller Caller) {
	if caller.Name != "" {
		request.Header.Set(CallerHeader, caller.Name)
	}
}

// CallerOf is who made the request of this context, which a Server serves. The error is ErrBadCaller.
func CallerOf(ctx context.Context) (Caller, error) {
	found, _ := ctx.Value(callerKey{}).(identified)
	return found.caller, found.err
}

type callerKey struct{}

type identified struct {
	caller Caller
	err    error
}

func withCaller(r *http.Request) context.Context {
	found := identified{caller: Caller{Name: r.Header.Get(CallerHeader)}}
	switch {
	case !Printable(found.caller.Name, maxCaller):
		found = identified{err: ErrBadCaller}
	case found.caller.Name == "":
		found.caller.Name = r.RemoteAddr
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			found.caller.Name = host
		}
	}
	return context.WithValue(r.Context(), callerKey{}, found)
}

// Printable reports whether the value of a header can be recorded: at most limit printable ASCII characters.
func Printable(text string, limit int) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return len(text) <= limit
}
