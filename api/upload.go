package api

import (
	"bytes"
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
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// uploadInput is a file, or a form with several.
type uploadInput struct {
	File        string `query:"file" doc:"The name of the file, for the problems that are found in it."`
	ContentType string `header:"Content-Type"`
	RawBody     []byte `contentType:"application/yaml"`
}

// upload describes the ways to send documents. Several files are the parts of a form, each with its file name.
func upload(op huma.Operation) huma.Operation {
	// Without schemas: huma would parse a body that has one.
	op.RequestBody = &huma.RequestBody{Description: "Playbooks, schedules and freezes: one or several documents.", Content: map[string]*huma.MediaType{
		"text/yaml": {}, "multipart/form-data": {},
	}}
	return op
}

type file struct {
	name string
	data []byte
}

// uploaded is what an upload contains: of each file in its order, the playbooks first, then the schedules, then the freezes.
type uploaded struct {
	record.Documents
	order     []playbook.DocumentName
	playbooks map[string]*playbook.Playbook // by name
	schedules []*playbook.Schedule
}

// The kinds of documents.
const (
	kindPlaybook = "Playbook"
	kindSchedule = "Schedule"
	kindFreeze   = "Freeze"
)

// readDocuments makes records of an upload, or finds all its problems.
func (s *server) readDocuments(ctx context.Context, in *uploadInput) (*uploaded, error) {
	if !s.uploads.take(ctx) {
		return nil, errBusy
	}
	defer s.uploads.leave()
	files, failure := filesOf(in)
	if failure != nil {
		return nil, failure
	}
	up := &uploaded{playbooks: map[string]*playbook.Playbook{}}
	var problems record.Problems
	from := playbook.Names{}
	now := record.Now()
	for _, f := range files {
		parsed, err := playbook.ParseDocuments(f.name, f.data)
		var found record.Problems
		if err != nil && !errors.As(err, &found) {
			return nil, fmt.Errorf("read %s: %w", f.name, err)
		}
		problems = append(problems, found...)
		if err == nil {
			problems = append(problems, up.add(f.name, parsed, from, now)...)
		}
	}
	wrong, err := s.checkSchedules(ctx, up)
	if err != nil {
		return nil, err
	}
	if problems = append(problems, wrong...); len(problems) > 0 {
		failure := fail(http.StatusUnprocessableEntity, "invalid_playbook", problemCount(len(problems)))
		failure.Problems = problems
		return nil, failure
	}
	if len(up.order) == 0 {
		return nil, fail(http.StatusUnprocessableEntity, "no_playbook", "the request contains no playbook, schedule or freeze")
	}
	return up, nil
}

// add makes records of the documents of a file. from says in which file each document was found before.
func (up *uploaded) add(file string, parsed playbook.Documents, from playbook.Names, now time.Time) (problems record.Problems) {
	first := func(kind, name string) bool {
		key := playbook.DocumentName{Kind: kind, Name: name}
		if problem := from.Add(file, key); problem != nil {
			problems = append(problems, *problem)
			return false
		}
		up.order = append(up.order, key)
		return true
	}
	for _, p := range parsed.Playbooks {
		if first(kindPlaybook, p.Name) {
			r := revision(p)
			r.CreatedTS = now
			up.playbooks[p.Name] = p
			up.Playbooks = append(up.Playbooks, r)
		}
	}
	for _, p := range parsed.Schedules {
		if first(kindSchedule, p.Name) {
			up.schedules = append(up.schedules, p)
			up.Schedules = append(up.Schedules, record.Schedule{Name: p.Name, Labels: p.Labels, Spec: p.Spec, KeepSuspended: p.KeepSuspended, CreatedTS: now})
		}
	}
	for _, p := range parsed.Freezes {
		if first(kindFreeze, p.Name) {
			up.Freezes = append(up.Freezes, record.Freeze{Name: p.Name, Labels: p.Labels, Spec: p.Spec, CreatedTS: now})
		}
	}
	return problems
}

func problemCount(problems int) string {
	if problems == 1 {
		return "one problem was found; nothing was stored"
	}
	return fmt.Sprintf("%d problems were found; nothing was stored", problems)
}

func filesOf(in *uploadInput) ([]file, *Failure) {
	media, params, _ := mime.ParseMediaType(in.ContentType)
	if media != "multipart/form-data" {
		name := in.File
		if !printableName(name) {
			return nil, fail(http.StatusBadRequest, "bad_request", "query.file: a file name must be at most 255 printable characters")
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
		if !printableName(name) {
			return nil, fail(http.StatusBadRequest, "bad_request", "a file name must be at most 255 printable characters")
		}
		files = append(files, file{name: name, data: data})
	}
}

// printableName reports whether a file name can be part of a message.
func printableName(name string) bool {
	return len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd })
}

// revision is p as it is stored, without number and time. Its digest covers everything that was written: the same text from
// another commit of its repository is another revision.
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
