package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// ForeignAgent is an agent that somebody else wrote, served by this process: it knows the published API only, its node's key has no
// lease, and each action succeeds at once, which it records. Its methods are safe for concurrent use.
type ForeignAgent struct {
	Node, Cluster string
	URL           string

	record   string   // file of its executions
	etcd     []string // URLs
	listener net.Listener
	server   *http.Server
	served   chan struct{} // closed when it no longer serves

	mu      sync.Mutex
	hostile string          // a JSON value, or what is none, in the place of every value
	actions map[string]bool // that it has accepted
}

// StartForeignAgent serves an agent, which appends its executions to the file record, and writes the key of its node.
func (in *Installation) StartForeignAgent(ctx context.Context, cluster, node, record string) (*ForeignAgent, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	a := &ForeignAgent{
		Node: node, Cluster: cluster, URL: fmt.Sprintf("http://127.0.0.1:%d", port), record: record, etcd: in.Endpoints, listener: listener,
		served: make(chan struct{}), actions: map[string]bool{},
	}
	mux := http.NewServeMux()
	const base = "/api/unstable"
	mux.HandleFunc("GET "+base+"/info/node", a.infoNode)
	mux.HandleFunc("GET "+base+"/info/store", a.infoStore)
	mux.HandleFunc("GET "+base+"/info/shards", a.infoShards)
	mux.HandleFunc("POST "+base+"/action", a.accept)
	mux.HandleFunc("GET "+base+"/action/{id}", a.action)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(a.served)
		_ = a.server.Serve(listener)
	}()
	if err := a.writeKey(ctx); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Close ends the agent. Its node's key stays.
func (a *ForeignAgent) Close() {
	_ = a.server.Close()
	<-a.served
}

// SetHostile has the agent, and the key of its node, say this wherever a value is free, until it is set to "".
func (a *ForeignAgent) SetHostile(ctx context.Context, value string) error {
	a.mu.Lock()
	a.hostile = value
	a.mu.Unlock()
	return a.writeKey(ctx)
}

// value is what the agent says wherever a value is free.
func (a *ForeignAgent) value() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hostile == "" {
		return "{}"
	}
	return a.hostile
}

// writeKey writes the key of the node by the JSON gateway of etcd.
func (a *ForeignAgent) writeKey(ctx context.Context) error {
	a.mu.Lock()
	attributes := a.hostile
	a.mu.Unlock()
	if attributes == "" {
		attributes = "{}"
	}
	value := fmt.Sprintf(`{"node_id": %q, "cluster_id": %q, "agent_url": %q, "attributes": %s}`, a.Node, a.Cluster, a.URL, attributes)
	body, err := json.Marshal(map[string][]byte{
		"key": fmt.Appendf(nil, "/replicante/clusters/%s/nodes/%s", a.Cluster, a.Node), "value": []byte(value),
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, server := range a.etcd {
		if err := post(ctx, server+"/v3/kv/put", body); err == nil {
			return nil
		} else {
			errs = append(errs, err)
		}
	}
	return fmt.Errorf("write the key of node %s: %w", a.Node, errors.Join(errs...))
}

func post(ctx context.Context, url string, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	_, err = body(http.DefaultClient.Do(request))
	return err
}

func (a *ForeignAgent) infoNode(w http.ResponseWriter, _ *http.Request) {
	answer(w, `{"agent_version": {"checkout": "", "number": "1", "taint": ""}, "attributes": %s, "node_id": %q, "node_status": "HEALTHY",
		"store_id": "foreign", "store_version": {"number": "1"}}`, a.value(), a.Node)
}

func (a *ForeignAgent) infoStore(w http.ResponseWriter, _ *http.Request) {
	answer(w, `{"cluster_id": %q, "attributes": %s}`, a.Cluster, a.value())
}

func (a *ForeignAgent) infoShards(w http.ResponseWriter, _ *http.Request) {
	answer(w, `{"shards": [{"id": "one", "role": {"Other": "main"}, "commit_offset": {"unit": {"unit": "rows"}, "value": 1}, "further": %s}]}`, a.value())
}

func (a *ForeignAgent) accept(w http.ResponseWriter, r *http.Request) {
	var request struct {
		ID       string            `json:"id"`
		Metadata map[string]string `json:"metadata"`
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(text, &request)
	}
	if err != nil || request.ID == "" {
		http.Error(w, "not an action", http.StatusBadRequest)
		return
	}
	if err := a.execute(request.ID, request.Metadata["replicante.io/term"]); errors.Is(err, os.ErrExist) {
		http.Error(w, `{"error": "it exists"}`, http.StatusConflict)
		return
	} else if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, `{"id": %q}`, request.ID)
}

// execute does what there is to do for an action. An action that it knows is os.ErrExist.
func (a *ForeignAgent) execute(action, term string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.actions[action] {
		return os.ErrExist
	}
	file, err := os.OpenFile(a.record, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	now := time.Now()
	line := fmt.Sprintf("%d.%06d %s %s %s 1", now.Unix(), now.Nanosecond()/1000, action, a.Node, term)
	if _, err := fmt.Fprintf(file, "S %s\nE %s 0\n", line, line); err != nil {
		return err
	}
	a.actions[action] = true
	return nil
}

func (a *ForeignAgent) action(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	a.mu.Lock()
	known := a.actions[id]
	a.mu.Unlock()
	if !known {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	now := time.Now().UTC().Format(time.RFC3339)
	answer(w, `{"args": {}, "created_time": %q, "finished_time": %q, "id": %q, "kind": "external.agent.replicante.io/work",
		"scheduled_time": %q, "state": {"phase": "DONE", "payload": %s, "error": null}}`, now, now, id, now, a.value())
}

func answer(w http.ResponseWriter, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, format, args...)
}

// HostileValues are values that some store, parser or reader cannot take.
func HostileValues() map[string]string {
	return map[string]string{
		"a NUL in a key":         `{"a\u0000b": 1}`,
		"a NUL in a text":        `{"a": "\u0000"}`,
		"250 levels":             strings.Repeat(`{"a":`, 250) + "1" + strings.Repeat("}", 250),
		"1,200 levels":           strings.Repeat(`{"a":`, 1200) + "1" + strings.Repeat("}", 1200),
		"1,200 lists":            `{"a": ` + strings.Repeat("[", 1200) + strings.Repeat("]", 1200) + "}",
		"invalid UTF-8":          "{\"a\": \"\xff\xfe\"}",
		"a huge number":          `{"a": 1e999}`,
		"a number of 400 digits": `{"a": ` + strings.Repeat("9", 400) + "}",
		"70 KiB":                 `{"a": "` + strings.Repeat("x", 70<<10) + `"}`,
		"5 MiB":                  `{"a": "` + strings.Repeat("x", 5<<20) + `"}`,
		"a key like an operator": `{"$set": {"a.b": 1}, "": 2, "a.b": 3}`,
		"no JSON":                `{"a": `,
		"a list":                 `[1, 2]`,
	}
}
