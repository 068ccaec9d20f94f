package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/jsonkeys"
)

// MaxBody bounds a request's body: it is for the server.
const MaxBody = 1 << 20

const (
	// maxWait is how long an answer is held at most; killWait, the answer to a cancel that stops a command.
	maxWait  = 60 * time.Second
	killWait = 20 * time.Second
	// defaultFinished is how many finished actions are listed, maxFinished how many may be asked for.
	defaultFinished = 50
	maxFinished     = 1000
)

// Handler serves the agent. It answers 503 before the agent is open and after it is closed.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	Mount(mux, "", func(*http.Request) *Agent { return a })
	return mux
}

// Mount adds the paths of agents to mux. prefix is a pattern such as "/agents/{agent}"; find returns the agent of a request, nil
// where there is none (404).
func Mount(mux *http.ServeMux, prefix string, find func(*http.Request) *Agent) {
	handle := func(method, path string, serve func(*Agent, http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(method+" "+prefix+wire.Base+path, func(w http.ResponseWriter, r *http.Request) {
			a := find(r)
			if a == nil {
				http.NotFound(w, r)
				return
			}
			if !a.isOpen() {
				a.answerError(w, errNotReady)
				return
			}
			if err := serve(a, w, r); err != nil {
				a.answerError(w, err)
			}
		})
	}
	handle("POST", "/action", (*Agent).postAction)
	handle("GET", "/action/{id}", (*Agent).getAction)
	handle("POST", "/action/{id}/cancel", (*Agent).postCancel)
	handle("GET", "/actions/queue", (*Agent).getQueue)
	handle("GET", "/actions/finished", (*Agent).getFinished)
	handle("GET", "/info/actions", (*Agent).getKinds)
	handle("GET", "/info/node", (*Agent).getNode)
	handle("GET", "/info/store", (*Agent).getStore)
	handle("GET", "/info/shards", (*Agent).getShards)
}

func (a *Agent) postAction(w http.ResponseWriter, r *http.Request) error {
	var request wire.ActionRequest
	if err := readBody(r, &request); err != nil {
		return err
	}
	wait, err := readWait(r)
	if err != nil {
		return err
	}
	id, err := a.accept(request)
	if err != nil {
		return err
	}
	if _, ended, err := a.lookUp(id); err == nil && a.hold(r.Context(), ended, wait) {
		if action, _, err := a.lookUp(id); err == nil && action.State.Phase.Ended() {
			return answer(w, http.StatusOK, action)
		}
	}
	return answer(w, http.StatusOK, wire.ActionAccepted{ID: id})
}

func (a *Agent) getAction(w http.ResponseWriter, r *http.Request) error {
	id, err := canonicalID(r.PathValue("id"))
	if err != nil {
		return wire.ErrNotFound
	}
	wait, err := readWait(r)
	if err != nil {
		return err
	}
	action, ended, err := a.lookUp(id)
	if err != nil {
		return err
	}
	if a.hold(r.Context(), ended, wait) {
		if action, _, err = a.lookUp(id); err != nil {
			return err
		}
	}
	return answer(w, http.StatusOK, action)
}

// readWait is how long the answer to a request may be held.
func readWait(r *http.Request) (time.Duration, error) {
	given := r.URL.Query().Get("wait")
	if given == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(given)
	if err != nil || wait < 0 {
		return 0, invalid("wait: %q is not a valid duration such as 30s", given)
	}
	return min(wait, maxWait), nil
}

func (a *Agent) postCancel(w http.ResponseWriter, r *http.Request) error {
	id, err := canonicalID(r.PathValue("id"))
	if err != nil {
		return err
	}
	var request wire.CancelRequest
	if err := readBody(r, &request); err != nil {
		return err
	}
	ended, err := a.cancel(id, request)
	if err != nil {
		return err
	}
	if request.Kill {
		a.hold(r.Context(), ended, killWait)
	}
	action, _, err := a.lookUp(id)
	if errors.Is(err, wire.ErrNotFound) {
		// Its details were purged: only the ID is left.
		return answer(w, http.StatusOK, wire.CancelAnswer{ID: id, State: wire.State{Phase: wire.PhaseFailed,
			Error: failure(wire.CodeFailed, "the action ended long ago; its result is no longer known")}})
	}
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wire.CancelAnswer{ID: id, State: action.State})
}

// hold waits until an action has ended. It returns false where there is nothing to wait for.
func (a *Agent) hold(ctx context.Context, ended <-chan struct{}, wait time.Duration) bool {
	if ended == nil || wait <= 0 {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-ctx.Done():
	case <-a.closing:
	}
	return true
}

func (a *Agent) getQueue(w http.ResponseWriter, _ *http.Request) error {
	list, err := a.pending()
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wire.ActionList{Actions: list})
}

func (a *Agent) getFinished(w http.ResponseWriter, r *http.Request) error {
	limit := defaultFinished
	if given := r.URL.Query().Get("limit"); given != "" {
		var err error
		if limit, err = strconv.Atoi(given); err != nil || limit < 1 || limit > maxFinished {
			return invalid("limit: %q is not a number from 1 to %d", given, maxFinished)
		}
	}
	list, err := a.journal.finished(limit)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wire.ActionList{Actions: list})
}

func (a *Agent) getKinds(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, wire.ActionsInfo{Kinds: a.Kinds()})
}

func (a *Agent) getNode(w http.ResponseWriter, r *http.Request) error {
	info, err := a.facts.look(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, a.nodeInfo(info))
}

func (a *Agent) getStore(w http.ResponseWriter, r *http.Request) error {
	info, err := a.facts.sameLook(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, a.storeInfo(info))
}

func (a *Agent) getShards(w http.ResponseWriter, r *http.Request) error {
	info, err := a.facts.sameLook(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, wire.ShardsInfo{Shards: shards(info)})
}

// errSlowBody is no fault of the request: it may be sent again.
var errSlowBody = errors.New("the body of the request did not arrive in time")

// readBody decodes a JSON object. Unknown keys are ignored, because other tools may send them; an empty body is {}.
func readBody(r *http.Request, into any) error {
	raw, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return invalid("the request is larger than %d bytes", large.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlowBody
	case err != nil:
		return invalid("the request cannot be read: %s", err)
	case !utf8.Valid(raw):
		return invalid("the request is not UTF-8")
	case len(raw) == 0:
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return invalid("the request is not valid: %s", err)
	}
	if err := jsonkeys.Check(raw); err != nil {
		return invalid("the request is not valid: %s", err)
	}
	return nil
}

func answer(w http.ResponseWriter, status int, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	_, _ = w.Write(raw) // the client has gone if this fails
	return nil
}

// answerError answers a request that failed with err.
func (a *Agent) answerError(w http.ResponseWriter, err error) {
	var fenced *wire.Fenced
	var bad *invalidError
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, wire.ErrNotFound):
		w.WriteHeader(http.StatusNotFound)
		return
	case errors.As(err, &fenced):
		_ = answer(w, http.StatusPreconditionFailed, fenced)
		return
	case errors.As(err, &bad):
		status = http.StatusBadRequest
	case errors.Is(err, wire.ErrExists):
		status = http.StatusConflict
	case errors.Is(err, errNotReady), errors.Is(err, errQueueFull), errors.Is(err, errSlowBody), errors.Is(err, context.Canceled):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	default:
		a.log.Error("request could not be answered", "error", err)
	}
	_ = answer(w, status, wire.Rejection{Error: err.Error()})
}
