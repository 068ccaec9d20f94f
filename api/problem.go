package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/internal/transport"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Failure is the body of every answer that is not a success: an RFC 9457 problem with a stable code.
type Failure struct {
	Type     string           `json:"type,omitempty"`
	Title    string           `json:"title"`
	Status   int              `json:"status"`
	Detail   string           `json:"detail"`
	Code     string           `json:"code" doc:"Stable, for programs."`
	Problems []record.Problem `json:"problems,omitempty" doc:"Where in the request the problems are."`

	retryAfter int // seconds
}

func fail(status int, code, detail string) *Failure {
	f := &Failure{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
	if status == http.StatusServiceUnavailable {
		f.retryAfter = 1
	}
	return f
}

func (f *Failure) Error() string { return f.Detail }

// GetStatus is the answer's status.
func (f *Failure) GetStatus() int { return f.Status }

// GetHeaders are the answer's further headers.
func (f *Failure) GetHeaders() http.Header {
	if f.retryAfter == 0 {
		return nil
	}
	return http.Header{"Retry-After": {strconv.Itoa(f.retryAfter)}}
}

// ContentType is the answer's content type.
func (f *Failure) ContentType(string) string { return "application/problem+json" }

// write answers a request that huma does not.
func (f *Failure) write(w http.ResponseWriter) {
	for name, values := range f.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", f.ContentType(""))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(f.Status)
	_ = json.NewEncoder(w).Encode(f) // the client has gone if this fails
}

var (
	errNoLeader = fail(http.StatusServiceUnavailable, "no_leader",
		"no replica leads at the moment: try again in a moment")
	errNotLeader = fail(http.StatusServiceUnavailable, "not_leader",
		"this replica does not lead, and the request has been forwarded once already: try again in a moment")
	errTooLarge = fail(http.StatusRequestEntityTooLarge, "body_too_large", "the request's body is larger than 4 MiB")
	errInDoubt  = fail(http.StatusServiceUnavailable, "in_doubt",
		"it is not known whether the request was carried out: repeat it with the same Idempotency-Key; it is carried out only once")
)

// failureOfBody is the answer where reading a request's body failed with err because of a bound of the server, else nil.
func failureOfBody(err error) *Failure {
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return errTooLarge
	case errors.Is(err, transport.ErrBusy):
		return errBusy
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fail(http.StatusRequestTimeout, "request_timeout", "the request's body did not arrive in time")
	}
	return nil
}

// huma makes its errors, of bodies and parameters that it rejects, with this function.
func init() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		details := []string{}
		for _, err := range errs {
			var detail *huma.ErrorDetail
			switch {
			case failureOfBody(err) != nil:
				return failureOfBody(err)
			case errors.As(err, &detail) && detail.Location != "":
				details = append(details, detail.Location+": "+detail.Message)
			case err != nil:
				details = append(details, err.Error())
			}
		}
		if len(details) > 0 {
			message = strings.Join(details, "; ")
		}
		switch status {
		case http.StatusUnprocessableEntity:
			status = http.StatusBadRequest
		case http.StatusUnsupportedMediaType:
			message += ": send Content-Type: application/json"
		}
		return fail(status, codesByStatus[status], message)
	}
}

// codesByStatus are the codes of requests that are rejected before they reach a handler.
var codesByStatus = map[int]string{
	http.StatusBadRequest:            "bad_request",
	http.StatusRequestTimeout:        "request_timeout",
	http.StatusRequestEntityTooLarge: "body_too_large",
	http.StatusUnsupportedMediaType:  "unsupported_media_type",
	http.StatusInternalServerError:   "internal",
}

// problem is the answer to err. An error that is not expected is logged here.
func (s *server) problem(ctx context.Context, err error) error {
	var failure *Failure
	var rejected *record.RejectedError
	switch {
	case errors.As(err, &failure):
		return failure
	case errors.As(err, &rejected):
		return rejection(rejected)
	case errors.Is(err, store.ErrNotFound):
		return fail(http.StatusNotFound, "not_found", err.Error())
	case errors.Is(err, store.ErrNotStorable):
		return fail(http.StatusUnprocessableEntity, "not_storable", err.Error()+": nothing was written; send less, or something else")
	case errors.Is(err, store.ErrKeyReused):
		return fail(http.StatusConflict, "idempotency_key_reused",
			"this Idempotency-Key was used for another request: use a new key")
	case errors.Is(err, store.ErrUnavailable):
		return fail(http.StatusServiceUnavailable, "store_unavailable", err.Error()+": try again in a moment")
	case errors.Is(err, store.ErrUnusable):
		return fail(http.StatusServiceUnavailable, "store_unusable", err.Error())
	case errors.Is(err, store.ErrStaleTerm), errors.Is(err, store.ErrConflict):
		return errInDoubt
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), ctx.Err() != nil:
		return fail(http.StatusServiceUnavailable, "timeout", "no answer in time: try again in a moment")
	}
	s.Log.Error("request failed", "error", err)
	return fail(http.StatusInternalServerError, "internal", "internal error: "+err.Error())
}

// problemOfWrite replaces the error of a write by errInDoubt where the write may have been carried out: this replica has
// stopped leading, or the time ran out.
func (s *server) problemOfWrite(ctx context.Context, err error) error {
	if errors.As(err, new(*record.RejectedError)) || errors.As(err, new(*Failure)) {
		return err
	}
	if ctx.Err() != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errInDoubt
	}
	for _, known := range []error{store.ErrNotFound, store.ErrKeyReused, store.ErrUnavailable, store.ErrUnusable, store.ErrNotStorable} {
		if errors.Is(err, known) {
			return err
		}
	}
	if s.controller() == nil {
		return errInDoubt
	}
	return err
}
