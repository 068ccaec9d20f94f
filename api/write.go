package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/replicante-io/playbooks/internal/transport"
	"github.com/replicante-io/playbooks/record"
)

// Headers of a write.
const (
	headerKey       = "Idempotency-Key"
	headerForwarded = "Replicante-Forwarded"
)

const maxKey = 200

// writes is the metadata of an operation that only the leader carries out.
const writes = "writes"

func write(op huma.Operation) huma.Operation {
	op = onLeader(op)
	op.Parameters = append(op.Parameters, &huma.Param{Name: headerKey, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
		Description: "A request that is repeated under the same key is carried out once and gets the same answer."})
	return op
}

// onLeader is an operation that only the leader can carry out; what it does may be repeated.
func onLeader(op huma.Operation) huma.Operation {
	op.Metadata = map[string]any{writes: true}
	op.Parameters = []*huma.Param{{Name: transport.CallerHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
		Description: "Who makes the request; default: the address of the client."}}
	return op
}

// requestKey is of the record.Request in the context of a write.
type requestKey struct{}

// requestOf is the write that ctx is of.
func requestOf(ctx context.Context) record.Request {
	request, _ := ctx.Value(requestKey{}).(record.Request)
	return request
}

// toLeader is the middleware of writes. It has the write carried out here while this replica leads, and forwards it to the
// leader otherwise. It reads the body, of which both need a copy.
func (s *server) toLeader(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	request, failure := requestFor(r)
	if failure == nil && s.controller() == nil {
		_, failure = s.leaderFor(r)
	}
	if failure != nil { // before the body is read
		failure.write(w)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		failure := fail(http.StatusBadRequest, "bad_request", "the request's body ended early")
		if known := failureOfBody(err); known != nil {
			failure = known
		}
		failure.write(w)
		return
	}
	if failure := checkBody(r, body); failure != nil {
		failure.write(w)
		return
	}
	request.Digest = digestOf(r, body)
	if s.controller() == nil {
		if failure := s.forward(w, r, body, request); failure != nil {
			failure.write(w)
		}
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	next(huma.WithValue(ctx, requestKey{}, request))
}

// leading is the controller, for a write that toLeader has let through. The error means that this replica has stopped leading
// since.
func (s *server) leading() (controller, error) {
	if c := s.controller(); c != nil {
		return c, nil
	}
	return nil, &record.RejectedError{Code: record.CodeNotLeading}
}

// requestFor is who makes the request, and under which key.
func requestFor(r *http.Request) (record.Request, *Failure) {
	caller, err := transport.CallerOf(r.Context())
	if err != nil {
		return record.Request{}, fail(http.StatusBadRequest, "bad_actor", err.Error())
	}
	request := record.Request{Actor: caller.Name, Key: r.Header.Get(headerKey)}
	if !transport.Printable(request.Key, maxKey) {
		return request, fail(http.StatusBadRequest, "bad_idempotency_key", "an Idempotency-Key must be at most 200 printable ASCII characters")
	}
	if strings.HasPrefix(request.Key, record.ScheduleKeys) {
		return request, fail(http.StatusBadRequest, "bad_idempotency_key", "an Idempotency-Key cannot begin with "+record.ScheduleKeys+
			": such keys are those of the runs that schedules start")
	}
	return request, nil
}

// digestOf is what repetitions of a request have in common.
func digestOf(r *http.Request, body []byte) string {
	digest := sha256.New()
	_, _ = io.WriteString(digest, r.Method+"\n"+r.URL.EscapedPath()+"\n")
	_, _ = digest.Write(body)
	return hex.EncodeToString(digest.Sum(nil))
}
