package api

import (
	"net/http"
	"runtime/debug"
	"strings"
)

// edge is around every request: a panic, a path or a method that nobody serves, a body without end and a page of
// another site that uses an operator's browser are answered with a problem.
func (s *server) edge(mux *http.ServeMux) http.Handler {
	foreign := http.NewCrossOriginProtection()
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(http.StatusForbidden, "cross_origin", "a page of another origin may not change anything here").write(w)
	}))
	routed := foreign.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern == "" {
			notServed(handler, w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &watched{ResponseWriter: w}
		defer func() {
			reason := recover()
			if reason == nil {
				return
			}
			if reason == http.ErrAbortHandler {
				panic(reason)
			}
			s.Log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", reason,
				"stack", string(debug.Stack()))
			if out.begun {
				panic(http.ErrAbortHandler)
			}
			fail(http.StatusInternalServerError, "internal", "internal error: see this replica's log").write(w)
		}()
		s.Log.Trace("request", "method", r.Method, "path", r.URL.Path)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		routed.ServeHTTP(out, r)
	})
}

// notServed answers what the mux has no pattern for: refuse is what the mux would answer, in plain text.
func notServed(refuse http.Handler, w http.ResponseWriter, r *http.Request) {
	answer := &muted{header: http.Header{}}
	refuse.ServeHTTP(answer, r)
	if allow := answer.header.Get("Allow"); answer.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allow)
		fail(http.StatusMethodNotAllowed, "method_not_allowed",
			r.Method+" is not for "+r.URL.Path+": it takes "+allow).write(w)
		return
	}
	detail := "there is no " + r.URL.Path
	if !strings.HasPrefix(r.URL.Path, "/api/v1/") {
		detail += ": the interface is under /api/v1, its description at /openapi.json"
	}
	fail(http.StatusNotFound, "no_such_path", detail).write(w)
}

// muted keeps of an answer its status and headers.
type muted struct {
	header http.Header
	status int
}

func (m *muted) Header() http.Header            { return m.header }
func (m *muted) WriteHeader(status int)         { m.status = status }
func (m *muted) Write(body []byte) (int, error) { return len(body), nil }

// watched knows whether the answer has begun.
type watched struct {
	http.ResponseWriter
	begun bool
}

func (w *watched) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(body []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(body)
}

// Unwrap is for http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
