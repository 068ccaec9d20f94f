package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/internal/idempotency"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Applied is the result for one document of an upload.
type Applied struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Revision int64  `json:"revision,omitempty"`
	Version  string `json:"version,omitempty"`
	// Created is false where the latest revision was this already.
	Created bool `json:"created"`
}

type appliedOutput struct {
	Body struct {
		Items []Applied `json:"items"`
	}
}

func (s *server) registerPlaybooks() {
	register(s, upload(write(huma.Operation{OperationID: "apply", Method: http.MethodPost, Path: "/apply",
		Summary: "Apply playbooks, schedules and freezes: store all of them, or none"})), s.apply)
	register(s, upload(huma.Operation{OperationID: "validate", Method: http.MethodPost, Path: "/validate",
		Summary: "Validate playbooks, schedules and freezes: check them as apply does, and store nothing"}), s.validate)
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

// store stores the documents of an upload, together with key.
func (s *server) store(ctx context.Context, in *uploadInput, key *record.IdempotencyRecord) ([]Applied, error) {
	up, err := s.readDocuments(ctx, in)
	if err != nil {
		return nil, err
	}
	c, err := s.leading()
	if err != nil {
		return nil, err
	}
	before, err := s.revisionsBefore(ctx, up.order)
	if err != nil {
		return nil, err
	}
	stored, err := c.Apply(ctx, up.Documents, key, func(stored record.Documents) string {
		text, _ := json.Marshal(up.applied(stored, before)) // strings and numbers only
		return string(text)
	})
	if err != nil {
		return nil, err
	}
	items := up.applied(stored, before)
	for _, item := range items {
		if item.Created {
			s.Log.Info("document applied", "kind", item.Kind, "name", item.Name, "revision", item.Revision, "actor", requestOf(ctx).Actor)
		}
	}
	return items, nil
}

// revisionsBefore are the latest revisions of documents; 0 of one that does not exist.
func (s *server) revisionsBefore(ctx context.Context, names []playbook.DocumentName) (map[playbook.DocumentName]int64, error) {
	before := map[playbook.DocumentName]int64{}
	for _, of := range names {
		var err error
		switch of.Kind {
		case kindPlaybook:
			var p record.Playbook
			p, err = s.Store.Playbook(ctx, of.Name, 0)
			before[of] = p.Revision
		case kindSchedule:
			var p record.Schedule
			p, err = s.Store.Schedule(ctx, of.Name)
			before[of] = p.Revision
		case kindFreeze:
			var p record.Freeze
			p, err = s.Store.Freeze(ctx, of.Name)
			before[of] = p.Revision
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("read %s %s: %w", strings.ToLower(of.Kind), of.Name, err)
		}
	}
	return before, nil
}

// applied are the results of an upload, in its order, where stored is what it became and before are the revisions before.
func (up *uploaded) applied(stored record.Documents, before map[playbook.DocumentName]int64) []Applied {
	of := map[playbook.DocumentName]Applied{}
	for _, p := range stored.Playbooks {
		name := playbook.DocumentName{Kind: kindPlaybook, Name: p.Name}
		of[name] = Applied{Revision: p.Revision, Version: p.Version, Created: p.Revision > before[name] && p.CreatedTS.Equal(up.Playbooks[0].CreatedTS)}
	}
	for _, p := range stored.Schedules {
		name := playbook.DocumentName{Kind: kindSchedule, Name: p.Name}
		of[name] = Applied{Revision: p.Revision, Created: p.Revision > before[name] && p.UpdateTS.Equal(up.Schedules[0].CreatedTS)}
	}
	for _, p := range stored.Freezes {
		name := playbook.DocumentName{Kind: kindFreeze, Name: p.Name}
		of[name] = Applied{Revision: p.Revision, Created: p.Revision > before[name] && p.UpdateTS.Equal(up.Freezes[0].CreatedTS)}
	}
	items := make([]Applied, len(up.order))
	for i, name := range up.order {
		items[i] = of[name]
		items[i].Kind, items[i].Name = name.Kind, name.Name
	}
	return items
}

func (s *server) validate(ctx context.Context, in *uploadInput) (*appliedOutput, error) {
	up, err := s.readDocuments(ctx, in)
	if err != nil {
		return nil, err
	}
	out := &appliedOutput{}
	out.Body.Items = []Applied{}
	for _, name := range up.order {
		item := Applied{Kind: name.Kind, Name: name.Name}
		if p := up.playbooks[name.Name]; p != nil && name.Kind == kindPlaybook {
			item.Version = p.Version
		}
		out.Body.Items = append(out.Body.Items, item)
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
