package api

import (
	"context"
	"html/template"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/election"
)

func (s *server) registerHealth() {
	register(s, huma.Operation{OperationID: "leader", Method: http.MethodGet, Path: "/leader",
		Summary: "Get the replica that leads"}, s.leader)
	huma.Register(s.api, huma.Operation{OperationID: "healthz", Method: http.MethodGet, Path: "/healthz",
		Summary: "Check that this replica is alive"}, s.healthz)
	huma.Register(s.api, huma.Operation{OperationID: "readyz", Method: http.MethodGet, Path: "/readyz",
		Summary: "Check that this replica is ready, or why it is not"}, s.readyz)
}

func (s *server) leader(context.Context, *struct{}) (*oneOutput[election.Leader], error) {
	leader, known := s.Leader()
	if !known {
		return nil, errNoLeader
	}
	return &oneOutput[election.Leader]{Body: leader}, nil
}

// Health is the state of a replica that is alive.
type Health struct {
	Alive    bool   `json:"alive"`
	Ready    bool   `json:"ready,omitempty"`
	Name     string `json:"name"`
	Instance string `json:"instance,omitempty"`
	Version  string `json:"version,omitempty"`
	Leading  bool   `json:"leading"`
}

func (s *server) health() Health {
	return Health{Alive: true, Name: s.Name, Instance: s.Instance, Version: s.Version, Leading: s.controller() != nil}
}

func (s *server) healthz(context.Context, *struct{}) (*oneOutput[Health], error) {
	return &oneOutput[Health]{Body: s.health()}, nil
}

func (s *server) readyz(ctx context.Context, _ *struct{}) (*oneOutput[Health], error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if s.NotReady != nil {
		if reasons := s.NotReady(ctx); len(reasons) > 0 {
			return nil, fail(http.StatusServiceUnavailable, "not_ready", "this replica is not ready: "+strings.Join(reasons, "; "))
		}
	}
	health := s.health()
	health.Ready = true
	return &oneOutput[Health]{Body: health}, nil
}

var home = template.Must(template.New("home").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Replicante Playbooks</title>
<body style="font: 16px/1.5 sans-serif; max-width: 40em; margin: 3em auto; padding: 0 1em">
<h1>Replicante Playbooks</h1>
<p>This is {{if .Leading}}the leader{{else}}a replica{{end}} of the control plane{{with .Name}}, named <b>{{.}}</b>{{end}}.
It runs playbooks over the nodes of clusters.</p>
<ul>
<li>Operators use the program <code>replictl</code>.</li>
<li><a href="/openapi.json">/openapi.json</a> describes the API.</li>
<li>Lists: <a href="/api/v1/runs">runs</a>, <a href="/api/v1/playbooks">playbooks</a>,
<a href="/api/v1/clusters">clusters</a>.</li>
<li>State: <a href="/api/v1/leader">the leader</a>, <a href="/readyz">this replica</a>.</li>
</ul>
`))

func (s *server) home(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	_ = home.Execute(w, s.health()) // the client has gone if this fails
}
