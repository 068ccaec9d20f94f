package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func (s *server) registerRuns() {
	register(s, write(huma.Operation{OperationID: "start-run", Method: http.MethodPost, Path: "/runs",
		DefaultStatus: http.StatusCreated, Summary: "Start a run of a playbook on a cluster"}), s.start)
	register(s, huma.Operation{OperationID: "list-runs", Method: http.MethodGet, Path: "/runs",
		Summary: "List runs, newest first, without their playbooks' specs"}, s.runs)
	register(s, huma.Operation{OperationID: "get-run", Method: http.MethodGet, Path: "/runs/{id}",
		Summary: "Get a run"}, s.run)
	register(s, huma.Operation{OperationID: "list-run-nodes", Method: http.MethodGet, Path: "/runs/{id}/nodes",
		Summary: "List the records of a run's nodes by name"}, s.runNodes)
	register(s, huma.Operation{OperationID: "get-run-node", Method: http.MethodGet, Path: "/runs/{id}/nodes/{node}",
		Summary: "Get the record of one node of a run"}, s.runNode)
	register(s, onLeader(huma.Operation{OperationID: "plan", Method: http.MethodPost, Path: "/plan",
		Summary: "Plan a run: what it would do. Nothing is started or stored"}), s.plan)
}

type startInput struct {
	Body record.RunRequest
}

const (
	maxWhere      = 16 << 10 // bytes
	maxStartNodes = 1000     // that a request names
)

type runOutput = oneOutput[record.Run]

// checkStart rejects a request for a run, or for the plan of one, that is not complete or too large.
func checkStart(in *startInput) error {
	switch {
	case in.Body.Playbook == "":
		return fail(http.StatusBadRequest, "bad_request", "body.playbook is required")
	case in.Body.Cluster == "":
		return fail(http.StatusBadRequest, "bad_request", "body.cluster is required")
	case in.Body.Revision < 0:
		return fail(http.StatusBadRequest, "bad_request", "body.revision must be at least 1, or 0 for the latest")
	case !slices.Contains([]string{"", "queue", "fail"}, in.Body.IfBusy):
		return fail(http.StatusBadRequest, "bad_request", "body.if_busy must be queue or fail")
	case len(in.Body.Where) > maxWhere:
		return fail(http.StatusBadRequest, "bad_request", fmt.Sprintf("body.where must be at most %d bytes", maxWhere))
	case len(in.Body.Nodes) > maxStartNodes:
		return fail(http.StatusBadRequest, "bad_request", fmt.Sprintf("body.nodes must be at most %d; use where to select more", maxStartNodes))
	}
	if err := checkReason(in.Body.Reason); err != nil {
		return err
	}
	if in.Body.OverrideFreeze && in.Body.Reason == "" {
		return fail(http.StatusBadRequest, "bad_request", "body.reason is required with body.override_freeze")
	}
	if err := record.CheckStorable(in.Body.Params, maxParams); err != nil {
		return fail(http.StatusBadRequest, "bad_request", "body.params: "+err.Error())
	}
	slices.SortFunc(in.Body.Nodes, record.CompareIDs)
	in.Body.Nodes = slices.Compact(in.Body.Nodes)
	return nil
}

func (s *server) start(ctx context.Context, in *startInput) (*runOutput, error) {
	if err := checkStart(in); err != nil {
		return nil, err
	}
	c, err := s.leading()
	if err != nil {
		return nil, err
	}
	run, err := c.Start(ctx, requestOf(ctx), in.Body)
	if err != nil {
		return nil, s.problemOfWrite(ctx, fmt.Errorf("start playbook %s on cluster %s: %w", in.Body.Playbook, in.Body.Cluster, err))
	}
	return &runOutput{Body: runWithTexts(run)}, nil
}

func (s *server) plan(ctx context.Context, in *startInput) (*oneOutput[record.Plan], error) {
	if err := checkStart(in); err != nil {
		return nil, err
	}
	if !s.plans.tryTake() {
		return nil, errManyPlans
	}
	defer s.plans.leave()
	c, err := s.leading()
	if err != nil {
		return nil, err
	}
	plan, err := c.Plan(ctx, requestOf(ctx), in.Body)
	if err != nil {
		return nil, fmt.Errorf("plan playbook %s on cluster %s: %w", in.Body.Playbook, in.Body.Cluster, err)
	}
	return &oneOutput[record.Plan]{Body: planWithTexts(plan)}, nil
}

type runsInput struct {
	Cluster  string            `query:"cluster"`
	Playbook string            `query:"playbook"`
	State    []record.RunState `query:"state" doc:"One state or several, separated by commas."`
	PageInput
}

// checkStates rejects a state that does not exist: it would select nothing.
func checkStates[S ~string](states, all []S) error {
	for _, state := range states {
		if !slices.Contains(all, state) {
			names := make([]string, len(all))
			for i, name := range all {
				names[i] = string(name)
			}
			return fail(http.StatusBadRequest, "bad_request",
				fmt.Sprintf("query.state: there is no state %q; the states are %s", state, strings.Join(names, ", ")))
		}
	}
	return nil
}

func (s *server) runs(ctx context.Context, in *runsInput) (*listOutput[record.Run], error) {
	if err := checkStates(in.State, record.RunStates); err != nil {
		return nil, err
	}
	filter := store.RunFilter{Cluster: in.Cluster, Playbook: in.Playbook, States: in.State}
	return s.readRuns(ctx, filter, in.page())
}

type runInput struct {
	ID string `path:"id"`
}

func (s *server) run(ctx context.Context, in *runInput) (*runOutput, error) {
	run, err := s.readRun(ctx, in.ID)
	return &runOutput{Body: runWithTexts(run)}, noRun(in.ID, err)
}

// noRun names the run where err is that it does not exist.
func noRun(id string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fail(http.StatusNotFound, "not_found", fmt.Sprintf("there is no run %q", id))
	}
	return err
}

type runNodesInput struct {
	ID    string             `path:"id"`
	State []record.NodeState `query:"state" doc:"One state or several, separated by commas."`
	PageInput
}

func (s *server) runNodes(ctx context.Context, in *runNodesInput) (*listOutput[record.RunNode], error) {
	if err := checkStates(in.State, record.NodeStates); err != nil {
		return nil, err
	}
	items, next, err := s.readNodes(ctx, in.ID, in.State, in.page())
	return list(withTexts(items, nodeWithTexts), next, noRun(in.ID, err))
}

type runNodeInput struct {
	ID   string `path:"id"`
	Node string `path:"node"`
}

func (s *server) runNode(ctx context.Context, in *runNodeInput) (*oneOutput[record.RunNode], error) {
	node, err := s.readNode(ctx, in.ID, in.Node)
	if errors.Is(err, store.ErrNotFound) {
		err = fail(http.StatusNotFound, "not_found", fmt.Sprintf("there is no run %q with a node %q", in.ID, in.Node))
	}
	return &oneOutput[record.RunNode]{Body: nodeWithTexts(node)}, err
}
