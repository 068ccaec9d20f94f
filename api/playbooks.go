package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/internal/idempotency"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// Applied is what became of one playbook of a text.
type Applied struct {
	Name     string `json:"name"`
	Revision int64  `json:"revision,omitempty"`
	Version  string `json:"version,omitempty"`
	// Created is false where the latest revision was this text already.
	Created bool `json:"created"`
}

type textInput struct {
	File        string `query:"file" doc:"The name of the file that the text is from, for its problems."`
	ContentType string `header:"Content-Type"`
	RawBody     []byte `contentType:"application/yaml"`
}

type appliedOutput struct {
	Body struct {
		Items []Applied `json:"items"`
	}
}

// texts are the ways to send playbooks. Several files at once are the parts of a form, each with its file name.
func texts(op huma.Operation) huma.Operation {
	// Without schemas: huma would read a body that has one.
	op.RequestBody = &huma.RequestBody{Description: "Playbooks: one or several documents.", Content: map[string]*huma.MediaType{
		"text/yaml": {}, "multipart/form-data": {},
	}}
	return op
}

func (s *server) registerPlaybooks() {
	register(s, texts(write(huma.Operation{OperationID: "apply", Method: http.MethodPost, Path: "/apply",
		Summary: "Store playbooks, all or none"})), s.apply)
	register(s, texts(huma.Operation{OperationID: "validate", Method: http.MethodPost, Path: "/validate",
		Summary: "Check playbooks as apply would, and write nothing"}), s.validate)
	register(s, huma.Operation{OperationID: "list-playbooks", Method: http.MethodGet, Path: "/playbooks",
		Summary: "The latest revision of every playbook"}, s.playbooks)
	register(s, huma.Operation{OperationID: "get-playbook", Method: http.MethodGet, Path: "/playbooks/{name}",
		Summary: "One revision of a playbook"}, s.playbook)
	register(s, huma.Operation{OperationID: "list-revisions", Method: http.MethodGet, Path: "/playbooks/{name}/revisions",
		Summary: "The revisions of a playbook, newest first"}, s.revisions)
}

func (s *server) apply(ctx context.Context, in *textInput) (*appliedOutput, error) {
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

// store writes the playbooks of a text as new revisions, together with key.
func (s *server) store(ctx context.Context, in *textInput, key *record.IdempotencyRecord) ([]Applied, error) {
	playbooks, err := read(in)
	if err != nil {
		return nil, err
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
	revisions, err := s.Store.Apply(ctx, playbooks, key, func(revisions []record.Playbook) string {
		text, _ := json.Marshal(applied(revisions)) // strings and numbers only
		return string(text)
	})
	if err != nil {
		return nil, err
	}
	items := applied(revisions)
	for _, item := range items {
		if item.Created {
			s.Log.Info("playbook applied", "playbook", item.Name, "revision", item.Revision, "actor", requestOf(ctx).Actor)
		}
	}
	return items, nil
}

func (s *server) validate(_ context.Context, in *textInput) (*appliedOutput, error) {
	playbooks, err := read(in)
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

type file struct {
	name string
	data []byte
}

// read makes revisions of what was sent, or finds everything that is wrong with it.
func read(in *textInput) ([]record.Playbook, error) {
	files, failure := filesOf(in)
	if failure != nil {
		return nil, failure
	}
	var playbooks []record.Playbook
	var problems record.Problems
	from := map[string]string{}
	now := record.Now()
	for _, f := range files {
		parsed, err := playbook.Parse(f.name, f.data)
		var found record.Problems
		if err != nil && !errors.As(err, &found) {
			return nil, fmt.Errorf("read %s: %w", f.name, err)
		}
		for _, p := range parsed {
			found = append(found, playbook.Unsupported(p)...)
		}
		slices.SortStableFunc(found, func(a, b record.Problem) int { return cmp.Compare(a.Line, b.Line) })
		problems = append(problems, found...)
		if err != nil {
			continue
		}
		for _, p := range parsed {
			if other, twice := from[p.Name]; twice {
				problems = append(problems, record.Problem{File: f.name, Line: 1, Column: 1, Path: "metadata.name",
					Code: "duplicate", Message: fmt.Sprintf("playbook %s is in %s too: send each name once", p.Name, other)})
				continue
			}
			from[p.Name] = f.name
			playbooks = append(playbooks, revision(p))
			playbooks[len(playbooks)-1].CreatedTS = now
		}
	}
	if len(problems) > 0 {
		f := fail(http.StatusUnprocessableEntity, "invalid_playbook", count(len(problems)))
		f.Problems = problems
		return nil, f
	}
	if len(playbooks) == 0 {
		return nil, fail(http.StatusUnprocessableEntity, "no_playbook", "there is no playbook in what was sent")
	}
	return playbooks, nil
}

func count(problems int) string {
	if problems == 1 {
		return "one problem was found; nothing was written"
	}
	return fmt.Sprintf("%d problems were found; nothing was written", problems)
}

func filesOf(in *textInput) ([]file, *Failure) {
	media, params, _ := mime.ParseMediaType(in.ContentType)
	if media != "multipart/form-data" {
		name := in.File
		if !speakable(name) {
			return nil, fail(http.StatusBadRequest, "bad_request", "query.file: a file name has at most 255 printable characters")
		}
		return []file{{name: name, data: in.RawBody}}, nil
	}
	var files []file
	parts := multipart.NewReader(bytes.NewReader(in.RawBody), params["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fail(http.StatusBadRequest, "bad_request", "the form cannot be read: "+err.Error())
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, fail(http.StatusBadRequest, "bad_request", "the form cannot be read: "+err.Error())
		}
		_, header, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		name := header["filename"] // with its folders, which part.FileName drops
		if !speakable(name) {
			return nil, fail(http.StatusBadRequest, "bad_request", "a file name has at most 255 printable characters")
		}
		files = append(files, file{name: name, data: data})
	}
}

// speakable keeps control characters out of messages.
func speakable(name string) bool {
	return len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd })
}

// revision is p as it is stored, less its number and time. Its digest is of all that an operator wrote: the same text
// from another commit of its repository is another revision.
func revision(p *playbook.Playbook) record.Playbook {
	r := record.Playbook{Name: p.Name, Version: p.Version, Labels: p.Labels, Spec: p.Document}
	if p.Source != nil {
		r.Source = &record.Source{Repository: p.Source.Repository, Commit: p.Source.Commit, Path: p.Source.Path}
	}
	canonical, _ := json.Marshal(r) // keys of maps are sorted; a Document holds JSON values only
	digest := sha256.Sum256(canonical)
	r.Digest = hex.EncodeToString(digest[:])
	return r
}

func (s *server) playbooks(ctx context.Context, in *PageInput) (*listOutput[record.Playbook], error) {
	items, next, err := s.Store.Playbooks(ctx, in.page())
	return list(items, next, err)
}

type playbookInput struct {
	Name     string `path:"name"`
	Revision int64  `query:"revision" minimum:"0" doc:"0: the latest"`
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
	items, next, err := s.Store.Revisions(ctx, in.Name, in.page())
	if errors.Is(err, store.ErrNotFound) || err == nil && len(items) == 0 && in.Cursor == "" {
		return nil, fail(http.StatusNotFound, "not_found", fmt.Sprintf("there is no playbook %q", in.Name))
	}
	return list(items, next, err)
}
