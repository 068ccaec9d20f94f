package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/internal/idempotency"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Applied is the result for one playbook of an upload.
type Applied struct {
	Name     string `json:"name"`
	Revision int64  `json:"revision,omitempty"`
	Version  string `json:"version,omitempty"`
	// Created is false where the latest revision was this text already.
	Created bool `json:"created"`
}

type appliedOutput struct {
	Body struct {
		Items []Applied `json:"items"`
	}
}

func (s *server) registerPlaybooks() {
	register(s, upload(write(huma.Operation{OperationID: "apply", Method: http.MethodPost, Path: "/apply",
		Summary: "Apply playbooks: store all of them, or none"})), s.apply)
	register(s, upload(huma.Operation{OperationID: "validate", Method: http.MethodPost, Path: "/validate",
		Summary: "Validate playbooks: check them as apply does, and store nothing"}), s.validate)
	register(s, huma.Operation{OperationID: "list-playbooks", Method: http.MethodGet, Path: "/playbooks",
		Summary: "List the latest revision of every playbook"}, s.playbooks)
	register(s, huma.Operation{OperationID: "get-playbook", Method: http.MethodGet, Path: "/playbooks/{name}",
		Summary: "Get a revision of a playbook"}, s.playbook)
	register(s, huma.Operation{OperationID: "list-revisions", Method: http.MethodGet, Path: "/playbooks/{name}/revisions",
		Summary: "List the revisions of a playbook, newest first"}, s.revisions)
}

func (s *server) apply(ctx context.Context, in *uploadInput) (*appliedOutput, error) {
	items, err := idempotency.Do(ctx, &s.keys, idempotency.Write[[]Applied]{
		Request: requestOf(ctx),
		Find:    s.Store.IdempotencyRecord,
		Replay: func(_ context.Context, done record.IdempotencyRecord) (items []Applied, err error) {
			return items, json.Unmarshal([]byte(done.Answer), &items)
		},
		Do: func(ctx context.Context, key *record.IdempotencyRecord) ([]Applied, error) {
			return s.store(ctx, in, key)
		},
	})
	if err != nil {
		return nil, s.problemOfWrite(ctx, fmt.Errorf("apply: %w", err))
	}
	out := &appliedOutput{}
	out.Body.Items = items
	return out, nil
}

// store stores the playbooks of an upload as new revisions, together with key.
func (s *server) store(ctx context.Context, in *uploadInput, key *record.IdempotencyRecord) ([]Applied, error) {
	playbooks, err := s.readPlaybooks(ctx, in)
	if err != nil {
		return nil, err
	}
	c, err := s.leading()
	if err != nil {
		return nil, err
	}
	term, leads := c.LeadingTerm()
	if !leads {
		return nil, &record.RejectedError{Code: record.CodeNotLeading}
	}
	before := map[string]int64{}
	for _, p := range playbooks {
		latest, err := s.Store.Playbook(ctx, p.Name, 0)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("read playbook %s: %w", p.Name, err)
		}
		before[p.Name] = latest.Revision
	}
	applied := func(revisions []record.Playbook) []Applied {
		items := make([]Applied, len(revisions))
		for i, p := range revisions {
			items[i] = Applied{Name: p.Name, Revision: p.Revision, Version: p.Version,
				Created: p.Revision > before[p.Name] && p.CreatedTS.Equal(playbooks[0].CreatedTS)}
		}
		return items
	}
	stored, err := s.Store.Apply(ctx, term, record.Documents{Playbooks: playbooks}, key, func(stored record.Documents) string {
		text, _ := json.Marshal(applied(stored.Playbooks)) // strings and numbers only
		return string(text)
	})
	if err != nil {
		return nil, err
	}
	items := applied(stored.Playbooks)
	for _, item := range items {
		if item.Created {
			s.Log.Info("playbook applied", "playbook", item.Name, "revision", item.Revision, "actor", requestOf(ctx).Actor)
		}
	}
	return items, nil
}

func (s *server) validate(ctx context.Context, in *uploadInput) (*appliedOutput, error) {
	playbooks, err := s.readPlaybooks(ctx, in)
	if err != nil {
		return nil, err
	}
	out := &appliedOutput{}
	out.Body.Items = []Applied{}
	for _, p := range playbooks {
		out.Body.Items = append(out.Body.Items, Applied{Name: p.Name, Version: p.Version})
	}
	return out, nil
}

func (s *server) playbooks(ctx context.Context, in *PageInput) (*listOutput[record.Playbook], error) {
	items, next, err := readPage(in.page(), func(page store.Page) ([]record.Playbook, string, error) {
		return s.Store.Playbooks(ctx, page)
	})
	return list(items, next, err)
}

type playbookInput struct {
	Name     string `path:"name"`
	Revision int64  `query:"revision" minimum:"0" doc:"0: the latest."`
}

type oneOutput[T any] struct {
	Body T
}

func (s *server) playbook(ctx context.Context, in *playbookInput) (*oneOutput[record.Playbook], error) {
	found, err := s.Store.Playbook(ctx, in.Name, in.Revision)
	if errors.Is(err, store.ErrNotFound) {
		if in.Revision > 0 {
			return nil, fail(http.StatusNotFound, "not_found", fmt.Sprintf("there is no revision %d of playbook %q", in.Revision, in.Name))
		}
		return nil, fail(http.StatusNotFound, "not_found", fmt.Sprintf("there is no playbook %q", in.Name))
	}
	return &oneOutput[record.Playbook]{Body: found}, err
}

type revisionsInput struct {
	Name string `path:"name"`
	PageInput
}

func (s *server) revisions(ctx context.Context, in *revisionsInput) (*listOutput[record.Playbook], error) {
	items, next, err := readPage(in.page(), func(page store.Page) ([]record.Playbook, string, error) {
		return s.Store.Revisions(ctx, in.Name, page)
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && len(items) == 0 && in.Cursor == "" {
		return nil, fail(http.StatusNotFound, "not_found", fmt.Sprintf("there is no playbook %q", in.Name))
	}
	return list(items, next, err)
}
