package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"

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

// writes marks an operation that only the leader does.
const writes = "writes"

func write(op huma.Operation) huma.Operation {
	op.Metadata = map[string]any{writes: true}
	op.Parameters = []*huma.Param{
		{Name: headerKey, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
			Description: "The same request repeated under the same key happens once and gets the same answer."},
		{Name: transport.CallerHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
			Description: "Who asks; default: the address of the client."},
	}
	return op
}

// written is what toLeader found out about a write.
type written struct{}

// requestOf is who asks for the write that ctx is of.
func requestOf(ctx context.Context) record.Request {
	request, _ := ctx.Value(written{}).(record.Request)
	return request
}

// toLeader is before each write: it reads the body, which its digest and a forwarding need, and hands the request on
// here where this replica leads, else to the leader.
func (s *server) toLeader(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			errTooLarge.write(w)
			return
		}
		fail(http.StatusBadRequest, "bad_request", "the request's body ended early").write(w)
		return
	}
	request, failure := identify(r, body)
	if failure != nil {
		failure.write(w)
		return
	}
	if s.Owner() == nil {
		if failure := s.pass(w, r, body, request); failure != nil {
			failure.write(w)
		}
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	next(huma.WithValue(ctx, written{}, request))
}

// identify finds who asks, and by what a repetition is known.
func identify(r *http.Request, body []byte) (record.Request, *Failure) {
	caller, err := transport.CallerOf(r.Context())
	if err != nil {
		return record.Request{}, fail(http.StatusBadRequest, "bad_actor", err.Error())
	}
	request := record.Request{Actor: caller.Name, Key: r.Header.Get(headerKey)}
	if !printable(request.Key, maxKey) {
		return request, fail(http.StatusBadRequest, "bad_idempotency_key", "an Idempotency-Key has at most 200 printable ASCII characters")
	}
	digest := sha256.New()
	_, _ = io.WriteString(digest, r.Method+"\n"+r.URL.EscapedPath()+"\n")
	_, _ = digest.Write(body)
	request.Digest = hex.EncodeToString(digest.Sum(nil))
	return request, nil
}

func printable(text string, limit int) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return len(text) <= limit
}
