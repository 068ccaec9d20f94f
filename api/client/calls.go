package client

import (
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/record"
)

// File is a text with documents. Its problems are reported with its name.
type File struct {
	Name string
	Data []byte
}

// Applied is the result for one document.
type Applied struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Revision int64  `json:"revision,omitempty"`
	Version  string `json:"version,omitempty"`
	Created  bool   `json:"created"` // false: the latest revision was this already
}

// Cluster is a cluster of known nodes.
type Cluster struct {
	ClusterID string `json:"cluster_id"`
	Nodes     int    `json:"nodes"`
	Present   int    `json:"present"` // of them with a live key
}

// Leader is the replica that leads; its term is 0 before it has announced one.
type Leader struct {
	Name      string `json:"name"`
	Advertise string `json:"advertise"`
	Instance  string `json:"instance,omitempty"`
	Term      int64  `json:"term"`
}

// RunFilter selects runs; empty fields select all. Limit 0 is no limit.
type RunFilter struct {
	Cluster, Playbook string
	States            []string
	Limit             int
}

// Keys of answers.
var (
	wantList = []string{"items"}
	wantRun  = []string{"id", "cluster", "state"}
)

// Apply stores the documents of all files, or none.
func (c *Client) Apply(ctx context.Context, files []File) ([]Applied, error) {
	return c.send(ctx, "/apply", uuid.NewString(), files)
}

// Validate checks the documents of all files as Apply would.
func (c *Client) Validate(ctx context.Context, files []File) ([]Applied, error) {
	return c.send(ctx, "/validate", "", files)
}

func (c *Client) send(ctx context.Context, path, key string, files []File) ([]Applied, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, file := range files {
		part, err := form.CreateFormFile("file", file.Name)
		if err == nil {
			_, err = part.Write(file.Data)
		}
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", file.Name, err)
		}
	}
	if err := form.Close(); err != nil {
		return nil, fmt.Errorf("pack the files: %w", err)
	}
	var answer struct{ Items []Applied }
	err := c.call(ctx, request{method: http.MethodPost, path: path, key: key, body: body.Bytes(), contentType: form.FormDataContentType(),
		want: wantList}, &answer)
	return answer.Items, err
}

// Playbooks lists the latest revision of every playbook.
func (c *Client) Playbooks(ctx context.Context) ([]record.Playbook, error) {
	return all[record.Playbook](ctx, c, "/playbooks", nil, 0)
}

// Playbook reads a revision; 0 is the latest.
func (c *Client) Playbook(ctx context.Context, name string, revision int64) (record.Playbook, error) {
	query := url.Values{}
	if revision != 0 {
		query.Set("revision", strconv.FormatInt(revision, 10))
	}
	var answer record.Playbook
	err := c.call(ctx, request{method: http.MethodGet, path: join("playbooks", name), query: query, want: []string{"name", "revision", "spec"}}, &answer)
	return answer, err
}

// Revisions lists the revisions of a playbook, newest first.
func (c *Client) Revisions(ctx context.Context, name string) ([]record.Playbook, error) {
	return all[record.Playbook](ctx, c, join("playbooks", name, "revisions"), nil, 0)
}

// Start starts a run.
func (c *Client) Start(ctx context.Context, start record.RunRequest) (record.Run, error) {
	return c.write(ctx, "/runs", start)
}

// planPatience bounds one call for a plan: a leader may look at many agents for it.
const planPatience = 40 * time.Second

// Plan asks what Start would begin.
func (c *Client) Plan(ctx context.Context, start record.RunRequest) (record.Plan, error) {
	var plan record.Plan
	r, err := newWrite(http.MethodPost, "/plan", start)
	if err == nil {
		r.key, r.want, r.timeout = "", []string{"cluster", "playbook", "stages"}, planPatience
		err = c.call(ctx, r, &plan)
	}
	return plan, err
}

// Command gives a run a command.
func (c *Client) Command(ctx context.Context, runID string, command record.Command) (record.Run, error) {
	path := join("runs", runID, string(command.Verb))
	if command.Verb == record.VerbResolve {
		path = join("runs", runID, "nodes", command.Node, "resolve")
	}
	// The path has the verb and the node.
	command.Verb, command.Node = "", ""
	return c.write(ctx, path, struct {
		record.Command
		Verb string `json:"verb,omitempty"`
	}{Command: command})
}

func (c *Client) write(ctx context.Context, path string, body any) (record.Run, error) {
	var run record.Run
	r, err := newWrite(http.MethodPost, path, body)
	if err == nil {
		r.want = wantRun
		err = c.call(ctx, r, &run)
	}
	return run, err
}

// Run reads a run.
func (c *Client) Run(ctx context.Context, runID string) (record.Run, error) {
	var run record.Run
	err := c.call(ctx, request{method: http.MethodGet, path: join("runs", runID), want: wantRun}, &run)
	return run, err
}

// Runs lists runs, newest first.
func (c *Client) Runs(ctx context.Context, filter RunFilter) ([]record.Run, error) {
	query := url.Values{}
	for name, value := range map[string]string{"cluster": filter.Cluster, "playbook": filter.Playbook, "state": strings.Join(filter.States, ",")} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return all[record.Run](ctx, c, "/runs", query, filter.Limit)
}

// RunNodes lists a run's node records by name: those in one of states, or all; at most limit, if it is not 0.
func (c *Client) RunNodes(ctx context.Context, runID string, states []string, limit int) ([]record.RunNode, error) {
	query := url.Values{}
	if len(states) > 0 {
		query.Set("state", strings.Join(states, ","))
	}
	return all[record.RunNode](ctx, c, join("runs", runID, "nodes"), query, limit)
}

// RunNode reads the record of one node of a run.
func (c *Client) RunNode(ctx context.Context, runID, node string) (record.RunNode, error) {
	var answer record.RunNode
	err := c.call(ctx, request{method: http.MethodGet, path: join("runs", runID, "nodes", node), want: []string{"node", "state"}}, &answer)
	return answer, err
}

// Events lists the events of a run after the one with seq after.
func (c *Client) Events(ctx context.Context, runID string, after int64) ([]record.Event, error) {
	query := url.Values{"after": {strconv.FormatInt(after, 10)}}
	return all[record.Event](ctx, c, join("runs", runID, "events"), query, 0)
}

// Clusters lists the clusters of known nodes.
func (c *Client) Clusters(ctx context.Context) ([]Cluster, error) {
	return all[Cluster](ctx, c, "/clusters", nil, 0)
}

// Nodes lists the known nodes of a cluster by name.
func (c *Client) Nodes(ctx context.Context, cluster string) ([]record.Node, error) {
	return all[record.Node](ctx, c, join("clusters", cluster, "nodes"), nil, 0)
}

// Node reads a known node.
func (c *Client) Node(ctx context.Context, cluster, node string) (record.Node, error) {
	var answer record.Node
	err := c.call(ctx, request{method: http.MethodGet, path: join("clusters", cluster, "nodes", node), want: []string{"node_id"}}, &answer)
	return answer, err
}

// Forget removes a node from the known nodes.
func (c *Client) Forget(ctx context.Context, cluster, node string) error {
	return c.remove(ctx, join("clusters", cluster, "nodes", node))
}

func (c *Client) remove(ctx context.Context, path string) error {
	r, err := newWrite(http.MethodDelete, path, nil)
	if err == nil {
		err = c.call(ctx, r, nil)
	}
	return err
}

// Schedules lists the schedules.
func (c *Client) Schedules(ctx context.Context) ([]record.Schedule, error) {
	return all[record.Schedule](ctx, c, "/schedules", nil, 0)
}

// wantDocument are keys of a schedule or freeze.
var wantDocument = []string{"name", "revision", "spec"}

// Schedule reads a schedule.
func (c *Client) Schedule(ctx context.Context, name string) (record.Schedule, error) {
	var answer record.Schedule
	err := c.call(ctx, request{method: http.MethodGet, path: join("schedules", name), want: wantDocument}, &answer)
	return answer, err
}

// Suspend suspends or resumes a schedule.
func (c *Client) Suspend(ctx context.Context, name string, suspended bool) (record.Schedule, error) {
	verb := "resume"
	if suspended {
		verb = "suspend"
	}
	var answer record.Schedule
	r, err := newWrite(http.MethodPost, join("schedules", name, verb), nil)
	if err == nil {
		r.want = wantDocument
		err = c.call(ctx, r, &answer)
	}
	return answer, err
}

// DeleteSchedule deletes a schedule.
func (c *Client) DeleteSchedule(ctx context.Context, name string) error {
	return c.remove(ctx, join("schedules", name))
}

// Freezes lists the freezes.
func (c *Client) Freezes(ctx context.Context) ([]record.Freeze, error) {
	return all[record.Freeze](ctx, c, "/freezes", nil, 0)
}

// Freeze reads a freeze.
func (c *Client) Freeze(ctx context.Context, name string) (record.Freeze, error) {
	var answer record.Freeze
	err := c.call(ctx, request{method: http.MethodGet, path: join("freezes", name), want: wantDocument}, &answer)
	return answer, err
}

// DeleteFreeze deletes a freeze.
func (c *Client) DeleteFreeze(ctx context.Context, name string) error {
	return c.remove(ctx, join("freezes", name))
}

// Leader reads which replica leads.
func (c *Client) Leader(ctx context.Context) (Leader, error) {
	var answer Leader
	err := c.call(ctx, request{method: http.MethodGet, path: "/leader", want: []string{"name"}}, &answer)
	return answer, err
}

// maxPage keeps pages of node records, which may hold the tails of several commands' output, at a few megabytes.
const maxPage = 500

// maxItems is how many items of a list are read.
const maxItems = 100_000

// all reads page after page, at most limit items if it is not 0.
func all[T any](ctx context.Context, c *Client, path string, query url.Values, limit int) ([]T, error) {
	items := []T{}
	full := url.Values{}
	for name, values := range query {
		full[name] = values
	}
	for {
		size := maxPage
		if limit > 0 {
			size = min(size, limit-len(items))
		}
		if path != "/clusters" {
			full.Set("limit", strconv.Itoa(size))
		}
		var page struct {
			Items      []T    `json:"items"`
			NextCursor string `json:"next_cursor"`
		}
		if err := c.call(ctx, request{method: http.MethodGet, path: path, query: full, want: wantList}, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		switch {
		case page.NextCursor == "" || limit > 0 && len(items) >= limit:
			return items, nil
		case len(items) >= maxItems:
			return nil, fmt.Errorf("%s lists more than %d items: select fewer", path, maxItems)
		case page.NextCursor == full.Get("cursor"):
			return nil, fmt.Errorf("%s lists the same page again after cursor %q", path, page.NextCursor)
		}
		full.Set("cursor", page.NextCursor)
	}
}

// join makes a path of names, which may contain any characters.
func join(names ...string) string {
	var path strings.Builder
	for _, name := range names {
		path.WriteString("/" + url.PathEscape(name))
	}
	return path.String()
}
