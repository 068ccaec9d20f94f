// Package api is the control plane's HTTP interface.
//
// Any replica answers reads, from the store; while that does not answer, the leader answers from memory about its unfinished
// runs. Only the leader answers writes: another replica forwards them to it, once. The API decides nothing about runs and
// never writes one: the controller does. Every answer that is not a success is application/problem+json with a stable code.
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
	"github.com/replicante-io/playbooks/internal/schema"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// controller is what the API uses of a leader's controller. It carries out a request once under its key. A request that it
// rejects is a *record.RejectedError; other errors are the store's.
type controller interface {
	Start(ctx context.Context, request record.Request, start record.RunRequest) (record.Run, error)
	Command(ctx context.Context, request record.Request, runID string, command record.Command) (record.Run, error)
	Forget(ctx context.Context, request record.Request, node record.NodeKey) error
	// Plan is what Start would begin; it changes nothing.
	Plan(ctx context.Context, request record.Request, start record.RunRequest) (record.Plan, error)
	// Apply stores documents as store.Store does; they are in force when it returns. It does not look the key up first.
	Apply(ctx context.Context, documents record.Documents, key *record.IdempotencyRecord,
		answer func(record.Documents) string) (record.Documents, error)
	Suspend(ctx context.Context, request record.Request, schedule string, suspended bool) error
	DeleteSchedule(ctx context.Context, request record.Request, name string) error
	DeleteFreeze(ctx context.Context, request record.Request, name string) error

	// CommittedRun is an unfinished run as its last commit left it, from memory. delayed is true while its next commit waits
	// for the store, which its Waiting then says.
	CommittedRun(runID string) (run record.Run, delayed, ok bool)
	// CommittedNodes are the records of its nodes, by name.
	CommittedNodes(runID string) ([]record.RunNode, bool)
	// CommittedRuns are all unfinished runs, newest first, without their playbooks' specs.
	CommittedRuns() []record.Run
}

// Config is what the API works with.
type Config struct {
	Store store.Store
	// Leader is the replica that leads, as last seen.
	Leader func() (election.Leader, bool)
	// LeaderChanged returns a channel that is closed when Leader may return another; it may be nil.
	LeaderChanged func() <-chan struct{}
	// NotReady returns why this replica is not ready, nothing when it is; it may be nil.
	NotReady func(ctx context.Context) []string
	// StoreUnavailable is since when the store has not answered, zero where it does, and its last error; it may be nil.
	StoreUnavailable func() (since time.Time, reason error)
	// Name and Instance are this replica's; Version is the program's.
	Name, Instance, Version string
	// Metrics serves /metrics, if it is not nil.
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
	controller func() controller // nil while this replica does not lead
	api        huma.API
	leaders    *http.Client // of writes that are forwarded
	keys       idempotency.Keys
	reads      readBound
	streams    places
	replays    places
	followers  followers
	uploads    places
	plans      places
}

// New returns the handler of all paths. leading returns the controller while this replica leads. A stream ends with its
// request's context, which therefore has to end when the replica stops.
func New[C controller](config Config, leading func() (C, bool)) http.Handler {
	mux := http.NewServeMux()
	s := &server{Config: config, leaders: newLeaderClient(), reads: readBound{places: make(places, maxReads)},
		streams: make(places, maxStreams), replays: make(places, maxReplays), uploads: make(places, maxUploads), plans: make(places, maxPlans)}
	s.controller = func() controller {
		if c, leads := leading(); leads {
			return c
		}
		return nil
	}
	s.api = humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "Replicante Playbooks", Version: config.Version},
			Components: &huma.Components{},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		// A misspelt filter would select everything.
		RejectUnknownQueryParameters: true,
	})
	s.registerPlaybooks()
	s.registerSchedules()
	s.registerRuns()
	s.registerCommands()
	s.registerEvents()
	s.registerNodes()
	s.registerHealth()
	// The description is encoded here: huma would do it in the first request, with a race.
	description, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		panic(err) // of our own types: a mistake in this package
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(description)
	})
	for _, kind := range schema.Kinds {
		text := schema.JSON(kind)
		mux.HandleFunc("GET /schemas/"+kind+".json", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/schema+json")
			_, _ = w.Write(text)
		})
	}
	mux.HandleFunc("GET /{$}", s.home)
	mux.Handle("GET "+election.PresencePath, election.Presence(s.Instance))
	if config.Metrics != nil {
		mux.Handle("GET /metrics", config.Metrics)
	}
	return s.middleware(mux)
}

// register adds an operation of /api/v1. Its errors become problems, and its context has a deadline.
func register[I, O any](s *server, op huma.Operation, answer func(context.Context, *I) (*O, error)) {
	op.Path = "/api/v1" + op.Path
	op.MaxBodyBytes = MaxBody + 1 // the server's limit is reached first
	op.BodyReadTimeout = writeTimeout
	writes := op.Metadata[writes] != nil
	if writes {
		op.Middlewares = append(op.Middlewares, s.toLeader)
	} else if op.Method == http.MethodGet {
		op.Middlewares = append(op.Middlewares, s.boundReads)
	}
	huma.Register(s.api, op, func(ctx context.Context, input *I) (*O, error) {
		timeout := readTimeout
		switch {
		case writes:
			timeout = writeTimeout
		case s.storeWait() != nil:
			timeout = degradedAfter
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
