package api

import (
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/replicante-io/playbooks/internal/transport"
)

// uploadTypes are the types that playbooks are sent as.
var uploadTypes = []string{transport.MediaTypeJSON, "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "multipart/form-data"}

// Guard is for the server of a handler of New: it refuses what the API does not take from browsers and strangers. names are
// those under which the server is reached.
func Guard(names []string) *transport.Guard {
	return &transport.Guard{
		Names: names,
		MediaTypes: func(r *http.Request) []string {
			if isUpload(r) {
				return uploadTypes
			}
			return uploadTypes[:1]
		},
		Refuse: func(w http.ResponseWriter, refusal transport.Refusal) {
			fail(refusal.Status, refusal.Code, refusal.Message).write(w)
		},
	}
}

// isUpload reports whether a request sends playbooks.
func isUpload(r *http.Request) bool {
	return r.URL.Path == "/api/v1/apply" || r.URL.Path == "/api/v1/validate"
}

// middleware is around every request: a panic, and a path or method that is not served, are answered with a problem.
func (s *server) middleware(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &startedWriter{ResponseWriter: w}
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
			if out.started {
				panic(http.ErrAbortHandler)
			}
			fail(http.StatusInternalServerError, "internal", "internal error: see the log of this replica").write(w)
		}()
		s.Log.Trace("request", "method", r.Method, "path", r.URL.Path)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if handler, pattern := mux.Handler(r); pattern == "" {
			notServed(handler, out, r)
			return
		}
		mux.ServeHTTP(out, r)
	})
}

// notServed answers a request that the mux has no pattern for. handler is the mux's own, which answers in plain text.
func notServed(handler http.Handler, w http.ResponseWriter, r *http.Request) {
	answer := &headerWriter{header: http.Header{}}
	handler.ServeHTTP(answer, r)
	if allow := answer.header.Get("Allow"); answer.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allow)
		if r.Method == http.MethodOptions {
			w.Header().Set("Allow", allow+", OPTIONS")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		fail(http.StatusMethodNotAllowed, "method_not_allowed",
			"method "+r.Method+" is not allowed for "+r.URL.Path+"; allowed: "+allow).write(w)
		return
	}
	detail := "there is no " + r.URL.Path
	if !strings.HasPrefix(r.URL.Path, "/api/v1/") {
		detail += ": the API is under /api/v1 and described by /openapi.json"
	}
	fail(http.StatusNotFound, "no_such_path", detail).write(w)
}

// headerWriter keeps the status and the headers of an answer, and drops its body.
type headerWriter struct {
	header http.Header
	status int
}

func (h *headerWriter) Header() http.Header            { return h.header }
func (h *headerWriter) WriteHeader(status int)         { h.status = status }
func (h *headerWriter) Write(body []byte) (int, error) { return len(body), nil }

// startedWriter records whether an answer has been started.
type startedWriter struct {
	http.ResponseWriter
	started bool
}

func (w *startedWriter) WriteHeader(status int) {
	w.started = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *startedWriter) Write(body []byte) (int, error) {
	w.started = true
	return w.ResponseWriter.Write(body)
}

// Unwrap is for http.ResponseController.
func (w *startedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
