// Package api is the control plane's HTTP interface.
//
// Reads are answered by any replica, from the store; while that does not answer, the leader answers from memory what
// it knows of its runs. Writes are answered by the leader alone: another replica forwards
// them to it, once. The api decides nothing about runs and never writes one: it hands words to their owner. Every answer
// that is not a success is application/problem+json with a stable code.
package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/idempotency"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Owner takes the words that change something. It exists while this replica leads.
//
// It recognises a repetition by the request's key, and answers it as it answered before. What it refuses is a
// *record.RejectedError; other errors are the store's.
type Owner interface {
	Start(ctx context.Context, request record.Request, start record.RunRequest) (record.Run, error)
	Command(ctx context.Context, request record.Request, runID string, command record.Command) (record.Run, error)
	Forget(ctx context.Context, request record.Request, key record.NodeKey) error

	// CommittedRun is a run that this replica goes on with, from memory, as its last commit left it. waits is true while the
	// store keeps it waiting, which its Waiting then says.
	CommittedRun(runID string) (run record.Run, waits, ok bool)
	// CommittedNodes is that run's node records, by name.
	CommittedNodes(runID string) ([]record.RunNode, bool)
	// CommittedRuns is all unfinished runs, newest first, without their playbooks' specs.
	CommittedRuns() []record.Run
}

// Config is what the interface stands on.
type Config struct {
	Store store.Store
	// Leader says who leads, as last seen.
	Leader func() (election.Leader, bool)
	// Changed returns a channel that is closed when Leader may answer differently; it may be nil.
	Changed func() <-chan struct{}
	// Owner is nil while this replica does not lead.
	Owner func() Owner
	// Ready names what this replica misses to serve; nothing when it is ready.
	Ready func(ctx context.Context) []string
	// StoreWaits is what waits for the store while that does not answer, in plain words, else ""; it may be nil.
	StoreWaits func() string
	// Name and Instance are this replica's; Version is the program's.
	Name, Instance, Version string
	// Metrics serves /metrics, if given.
	Metrics http.Handler
	Log     hclog.Logger
}

const (
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second
)

// MaxBody bounds a request's body: it is for the server.
const MaxBody = 4 << 20

type server struct {
	Config
	api     huma.API
	forward *http.Client
	keys    idempotency.Keys
}

// New returns the handler of everything. Streams end with their request's context: give the http.Server a BaseContext
// that ends when the replica stops.
func New(config Config) http.Handler {
	mux := http.NewServeMux()
	s := &server{Config: config, forward: newForwardClient()}
	s.api = humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "Replicante Playbooks", Version: config.Version},
			Components: &huma.Components{},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		// A filter with a slip of the pen would choose everything.
		RejectUnknownQueryParameters: true,
	})
	s.registerPlaybooks()
	s.registerRuns()
	s.registerCommands()
	s.registerEvents()
	s.registerNodes()
	s.registerReplica()
	// The description is written once; huma's own would be written by the first request, with a race.
	description, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		panic(err) // of our own types: a mistake in this package
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(description)
	})
	mux.HandleFunc("GET /{$}", s.home)
	mux.Handle("GET "+election.PresencePath, election.Presence(s.Instance))
	if config.Metrics != nil {
		mux.Handle("GET /metrics", config.Metrics)
	}
	return s.edge(mux)
}

// register adds one operation of /api/v1: its errors become problems, its context has a deadline.
func register[I, O any](s *server, op huma.Operation, answer func(context.Context, *I) (*O, error)) {
	op.Path = "/api/v1" + op.Path
	op.MaxBodyBytes = MaxBody + 1 // the server's limit is reached first
	op.BodyReadTimeout = writeTimeout
	timeout := readTimeout
	if op.Metadata[writes] != nil {
		timeout = writeTimeout
		op.Middlewares = append(op.Middlewares, s.toLeader)
	}
	writing := op.Metadata[writes] != nil
	huma.Register(s.api, op, func(ctx context.Context, input *I) (*O, error) {
		timeout := timeout
		if !writing && s.storeWaits() != "" {
			timeout = recallAfter
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		output, err := answer(ctx, input)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return output, nil
	})
}
