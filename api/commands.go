package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/record"
)

func (s *server) registerCommands() {
	operation := func(verb record.Verb, summary string) huma.Operation {
		return huma.Operation{OperationID: string(verb) + "-run", Method: http.MethodPost,
			Path: "/runs/{id}/" + string(verb), Summary: summary}
	}
	register(s, write(operation(record.VerbPause, "Pause a run: it starts nothing until it is resumed")), s.simpleCommand(record.VerbPause))
	register(s, write(operation(record.VerbResume, "Resume a paused run")), s.simpleCommand(record.VerbResume))
	register(s, write(operation(record.VerbCancel, "Cancel a run")), s.cancel)
	register(s, write(huma.Operation{OperationID: "resolve-node", Method: http.MethodPost,
		Path: "/runs/{id}/nodes/{node}/resolve", Summary: "Resolve a node whose state is UNKNOWN"}), s.resolve)
	register(s, write(operation(record.VerbApprove, "Approve a run, or a stage of it, that waits for its approval")), s.simpleCommand(record.VerbApprove))
	register(s, write(operation(record.VerbReject, "Reject a run, or a stage of it, that waits for its approval: the run is cancelled")),
		s.simpleCommand(record.VerbReject))
	register(s, write(operation(record.VerbRetry, "Have the nodes of a paused or ended run that are not done begin again where they were")), s.retry)
}

type commandInput struct {
	ID   string `path:"id"`
	Body *struct {
		Stage  string `json:"stage,omitempty"`
		Reason string `json:"reason,omitempty"`
	} `nameHint:"Command"`
}

// simpleCommand is a command that has a reason and may name a stage.
func (s *server) simpleCommand(verb record.Verb) func(context.Context, *commandInput) (*runOutput, error) {
	return func(ctx context.Context, in *commandInput) (*runOutput, error) {
		command := record.Command{Verb: verb}
		if in.Body != nil {
			command.Stage, command.Reason = in.Body.Stage, in.Body.Reason
		}
		return s.command(ctx, in.ID, command)
	}
}

type cancelInput struct {
	ID   string `path:"id"`
	Body *struct {
		Kill   bool   `json:"kill,omitempty" doc:"Stop what is in flight instead of waiting for it."`
		Reason string `json:"reason,omitempty"`
	} `nameHint:"Cancel"`
}

func (s *server) cancel(ctx context.Context, in *cancelInput) (*runOutput, error) {
	command := record.Command{Verb: record.VerbCancel}
	if in.Body != nil {
		command.Kill, command.Reason = in.Body.Kill, in.Body.Reason
	}
	return s.command(ctx, in.ID, command)
}

type retryInput struct {
	ID   string `path:"id"`
	Body *struct {
		Nodes  []string `json:"nodes,omitempty" maxItems:"10000" doc:"Only these; without it all that are not done."`
		Reason string   `json:"reason,omitempty"`
	} `nameHint:"Retry"`
}

func (s *server) retry(ctx context.Context, in *retryInput) (*runOutput, error) {
	command := record.Command{Verb: record.VerbRetry}
	if in.Body != nil {
		command.Nodes, command.Reason = in.Body.Nodes, in.Body.Reason
	}
	return s.command(ctx, in.ID, command)
}

type resolveInput struct {
	ID   string `path:"id"`
	Node string `path:"node"`
	Body struct {
		State  record.NodeState `json:"state" enum:"DONE,FAILED"`
		Reason string           `json:"reason" minLength:"1"`
	} `nameHint:"Resolve"`
}

func (s *server) resolve(ctx context.Context, in *resolveInput) (*runOutput, error) {
	return s.command(ctx, in.ID, record.Command{Verb: record.VerbResolve, Node: in.Node, State: in.Body.State, Reason: in.Body.Reason})
}

func (s *server) command(ctx context.Context, id string, command record.Command) (*runOutput, error) {
	if err := checkReason(command.Reason); err != nil {
		return nil, err
	}
	c, err := s.leading()
	if err != nil {
		return nil, err
	}
	run, err := c.Command(ctx, requestOf(ctx), id, command)
	if err != nil {
		return nil, s.problemOfWrite(ctx, noRun(id, fmt.Errorf("%s run %s: %w", command.Verb, id, err)))
	}
	return &runOutput{Body: runWithTexts(run)}, nil
}
