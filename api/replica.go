package api

import (
	"context"
	"html/template"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/election"
)

// registerReplica is what a replica says about itself and who leads.
func (s *server) registerReplica() {
	register(s, huma.Operation{OperationID: "leader", Method: http.MethodGet, Path: "/leader",
		Summary: "Who leads"}, s.leader)
	huma.Register(s.api, huma.Operation{OperationID: "healthz", Method: http.MethodGet, Path: "/healthz",
		Summary: "Whether this replica is alive"}, s.healthz)
	huma.Register(s.api, huma.Operation{OperationID: "readyz", Method: http.MethodGet, Path: "/readyz",
		Summary: "Whether this replica can serve, and else what it misses"}, s.readyz)
}

func (s *server) leader(context.Context, *struct{}) (*oneOutput[election.Leader], error) {
	leader, ok := s.Leader()
	if !ok {
		return nil, errNoLeader
	}
	return &oneOutput[election.Leader]{Body: leader}, nil
}

// Health is what a living replica says.
type Health struct {
	Alive    bool   `json:"alive"`
	Ready    bool   `json:"ready,omitempty"`
	Name     string `json:"name"`
	Instance string `json:"instance,omitempty"`
	Version  string `json:"version,omitempty"`
	Leading  bool   `json:"leading"`
}

func (s *server) health() Health {
	return Health{Alive: true, Name: s.Name, Instance: s.Instance, Version: s.Version, Leading: s.Owner() != nil}
}

func (s *server) healthz(context.Context, *struct{}) (*oneOutput[Health], error) {
	return &oneOutput[Health]{Body: s.health()}, nil
}

func (s *server) readyz(ctx context.Context, _ *struct{}) (*oneOutput[Health], error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if s.Ready != nil {
		if missing := s.Ready(ctx); len(missing) > 0 {
			return nil, fail(http.StatusServiceUnavailable, "not_ready", "this replica misses: "+strings.Join(missing, "; "))
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
<li><code>replictl</code> is the tool to work with it.</li>
<li><a href="/openapi.json">/openapi.json</a> describes its interface.</li>
<li>What it knows: <a href="/api/v1/runs">runs</a>, <a href="/api/v1/playbooks">playbooks</a>,
<a href="/api/v1/clusters">clusters</a>, <a href="/api/v1/leader">the leader</a>; how it is: <a href="/readyz">/readyz</a>.</li>
</ul>
`))

func (s *server) home(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	_ = home.Execute(w, s.health()) // the client is gone if this fails
}
