package replica_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

const takesAll = `
apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: takes}
spec:
  params: [{name: m, type: map}, {name: s, type: string}]
  stages:
    - name: one
      targets: 'node.id == "a"'
      health: {check: 'nodes.exists(n, n.id == "a" && n.status == "HEALTHY")', timeout: 1m}
      steps: [{name: ping, action: agent.replicante.io/test.success}]
`

// nested is a JSON value of so many levels.
func nested(levels int) string {
	return strings.Repeat(`{"d":`, levels) + "1" + strings.Repeat("}", levels)
}

// badValues are JSON values that cannot be stored, or would be stored as something else.
var badValues = map[string]string{
	"a NUL": `"a\u0000b"`, "a NUL in a key": `{"a\u0000b":1}`, "half a pair": `"x\ud800"`, "another half": `["\udc00x"]`, "not UTF-8": "\"\xff\"",
	"a key that is not UTF-8": "{\"\xc3\":1}", "70 levels": nested(70), "a deep list": strings.Repeat("[", 2000) + strings.Repeat("]", 2000),
	"1e400": "1e400", "2^63": "9223372036854775808", "2^64 in a list": "[18446744073709551616]", "-2^63-1": "-9223372036854775809",
	"2 MiB": `"` + strings.Repeat("x", 2<<20) + `"`, "5 MiB": `"` + strings.Repeat("x", 5<<20) + `"`,
}

// send makes a request, and returns its answer.
func (r *running) send(method, path, media string, body []byte, headers ...string) (int, []byte) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", media)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, answer
}

// refuses checks that a request is refused with its reason.
func (r *running) refuses(what string, status int, answer []byte, words ...string) {
	r.t.Helper()
	var problem struct{ Code, Detail string }
	if err := json.Unmarshal(answer, &problem); err != nil || status/100 != 4 || problem.Code == "" || problem.Detail == "" || !utf8.Valid(answer) {
		r.t.Errorf("%s: %d %.300s", what, status, answer)
	}
	for _, word := range words {
		if status != http.StatusRequestEntityTooLarge && !strings.Contains(problem.Detail, word) {
			r.t.Errorf("%s: nothing says %q: %.300s", what, word, problem.Detail)
		}
	}
}

// whatEnters sends what cannot be stored wherever something can be sent, and checks that it is refused, by name, and harms nothing.
func whatEnters(t *testing.T, i *installation, r *running) {
	url, _ := i.agent("a")
	r.ready()
	if _, err := r.plane.Apply(t.Context(), []client.File{{Name: "takes.yaml", Data: []byte(takesAll)}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is known", func() bool {
		known, err := r.plane.Nodes(t.Context(), "c")
		return err == nil && len(known) == 1
	})
	otherNodesAgent(t, i, r, url)
	hostileKeys(t, i, r)
	id := r.readsBack(goodValues)
	for name, word := range map[string]string{"nul": "contains a NUL", "deep": "64 levels", "huge": "1e400", "raw": "not UTF-8", "twice": `"attributes.n" is given twice`} {
		eventually(t, "agent-"+name+" is reported for what it answered to the health check: "+word, func() bool {
			n, err := r.plane.Node(t.Context(), "c", "agent-"+name)
			return err == nil && n.Status != record.StatusHealthy && strings.Contains(n.StatusReason, word)
		})
	}
	hostilePayloads(t, i, r)
	r.hostileBodies(id)
	r.keysTwice()
	r.hostilePlaybooks()
	r.hostileNames(id)
	if status, answer := r.send("GET", "/readyz", "", nil); status != http.StatusOK {
		t.Errorf("/readyz answers %d: %s", status, answer)
	}
	r.readsBack(`{}`)
}

// goodValues are unusual, and read back as they are.
var goodValues = `{"":1,"$set":2,"a.b":{"$x":[]},"_id":{},"deep":` + nested(61) + `,"max":9223372036854775807,"min":-9223372036854775808,"one":1.0,
	"big":1e308,"small":5e-324,"text":"\u2028\ud83d\ude00é\u001b","none":null,"list":[[],[null],true]}`

// readsBack runs the playbook with values for its param m, and checks that the run has them.
func (r *running) readsBack(values string) (runID string) {
	r.t.Helper()
	var want record.Document
	if err := json.Unmarshal([]byte(values), &want); err != nil {
		r.t.Fatal(err)
	}
	status, answer := r.send("POST", "/api/v1/runs", "application/json", []byte(`{"playbook":"takes","cluster":"c","params":{"m":`+values+`}}`))
	var run record.Run
	if err := json.Unmarshal(answer, &run); err != nil || status != http.StatusCreated {
		r.t.Fatalf("%d %s, %v", status, answer, err)
	}
	eventually(r.t, "the run ends", func() bool {
		var err error
		run, err = r.plane.Run(r.t.Context(), run.ID)
		return err == nil && run.State.Final()
	})
	if got := run.Params["m"]; run.State != record.RunDone || !reflect.DeepEqual(got, map[string]any(want)) {
		r.t.Errorf("%s, error %+v; params\n%v\nwant\n%v", run.State, run.Error, got, want)
	}
	return run.ID
}

// hostileBodies sends bad values in every field of every body.
func (r *running) hostileBodies(runID string) {
	for name, value := range badValues {
		for path, fields := range map[string]map[string]string{
			"/runs": {
				"body.params.m": `{"playbook":"takes","cluster":"c","params":{"m":{"v":%s}}}`, "body.params.s": `{"playbook":"takes","cluster":"c","params":{"s":%s}}`,
				"body.reason": `{"playbook":"takes","cluster":"c","reason":%s}`, "body.cluster": `{"playbook":"takes","cluster":%s}`,
				"body.playbook": `{"playbook":%s,"cluster":"c"}`, "body.if_busy": `{"playbook":"takes","cluster":"c","if_busy":%s}`,
				"body.revision": `{"playbook":"takes","cluster":"c","revision":%s}`, "body.x-any": `{"playbook":"takes","cluster":"c","x-any":%s}`,
			},
			"/runs/" + runID + "/pause":           {"body.reason": `{"reason":%s}`, "body.stage": `{"stage":%s}`},
			"/runs/" + runID + "/resume":          {"body.reason": `{"reason":%s}`},
			"/runs/" + runID + "/cancel":          {"body.reason": `{"reason":%s}`, "body.kill": `{"kill":%s}`},
			"/runs/" + runID + "/nodes/a/resolve": {"body.reason": `{"state":"DONE","reason":%s}`, "body.state": `{"state":%s,"reason":"x"}`},
		} {
			for field, body := range fields {
				if len(value) > 4<<20 && field != "body.reason" {
					continue
				}
				status, answer := r.send("POST", "/api/v1"+path, "application/json", fmt.Appendf(nil, body, value))
				word := field
				switch {
				case strings.Contains(name, "UTF-8"):
					word = "not UTF-8: see byte"
				case name == "2 MiB":
					word = ""
				}
				r.refuses(path+" "+field+" with "+name, status, answer, word)
			}
		}
	}
}

// keysTwice sends bodies in which a key is given twice.
func (r *running) keysTwice() {
	for body, word := range map[string]string{
		`{"playbook":"takes","cluster":"c","cluster":"d"}`:                        `"cluster" is given twice`,
		`{"playbook":"takes","cluster":"c","params":{"m":{"a":[{"b":1,"b":2}]}}}`: `"params.m.a[0].b" is given twice`,
	} {
		status, answer := r.send("POST", "/api/v1/runs", "application/json", []byte(body))
		r.refuses(body, status, answer, word)
	}
}

func (r *running) hostilePlaybooks() {
	const text = "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: t, version: %s, labels: {l: %s}}\nspec:\n  description: %s\n" +
		"  stages: [{name: s, steps: [{name: a, action: x/a, args: {v: %s}}]}]\n"
	values := map[string]string{"many": "[" + strings.Repeat("1,", 150_000) + "1]"}
	for name, value := range badValues {
		values[name] = value
	}
	for name, value := range values {
		if name == "1e400" {
			continue // a string, by the rules of YAML
		}
		for place := range 4 {
			if len(value) > 100_000 && place != 3 {
				continue
			}
			fields := []any{"v", "l", "d", "1"}
			fields[place] = value
			for _, path := range []string{"/apply", "/validate"} {
				status, answer := r.send("POST", "/api/v1"+path, "application/yaml", fmt.Appendf(nil, text, fields...))
				if name == "2 MiB" && status == http.StatusOK {
					continue
				}
				r.refuses(fmt.Sprintf("%s field %d with %s", path, place, name), status, answer)
			}
		}
	}
}

// hostileNames sends bad names in paths and headers.
func (r *running) hostileNames(runID string) {
	for _, name := range []string{"%00", "%ff", "a%00b", "%f0%9f", strings.Repeat("x", 9000), "%24where", "%2e%2e"} {
		for _, call := range []string{"POST /runs/" + name + "/pause", "POST /runs/" + runID + "/nodes/" + name + "/resolve", "DELETE /clusters/c/nodes/" + name,
			"DELETE /clusters/" + name + "/nodes/a", "GET /runs/" + name, "GET /runs/" + runID + "/nodes/" + name, "GET /playbooks/" + name} {
			method, path, _ := strings.Cut(call, " ")
			body := []byte(`{"reason":"x"}`)
			if strings.HasSuffix(path, "resolve") {
				body = []byte(`{"state":"DONE","reason":"x"}`)
			}
			status, answer := r.send(method, "/api/v1"+path, "application/json", body)
			r.refuses(fmt.Sprintf("%.60s", call), status, answer)
		}
	}
	for _, header := range []string{"Idempotency-Key", "Replicante-Actor"} {
		for _, value := range []string{"ü", "\xff", strings.Repeat("x", 300)} {
			status, answer := r.send("POST", "/api/v1/runs", "application/json", []byte(`{"playbook":"takes","cluster":"c"}`), header, value)
			r.refuses(header, status, answer, header)
		}
	}
}

// otherNodesAgent runs an action on a node whose key has the URL of another node's agent. Nothing reaches that agent.
func otherNodesAgent(t *testing.T, i *installation, r *running, url string) {
	key := i.prefix + "/clusters/c/nodes/dup"
	if _, err := i.etcd.Put(t.Context(), key, `{"agent_url":"`+url+`","status":"HEALTHY"}`); err != nil {
		t.Fatal(err)
	}
	const text = "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: dup}\nspec:\n  stages:\n" +
		"    - {name: s, targets: 'node.id == \"dup\"', health: 'node.id == \"dup\"', steps: [{name: a, action: agent.replicante.io/test.success}]}\n"
	if _, err := r.plane.Apply(t.Context(), []client.File{{Name: "dup.yaml", Data: []byte(text)}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node dup is known", func() bool {
		known, err := r.plane.Nodes(t.Context(), "c")
		return err == nil && len(known) == 2
	})
	run, err := r.plane.Start(t.Context(), record.RunRequest{Playbook: "dup", Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the run ends", func() bool {
		run, err = r.plane.Run(t.Context(), run.ID)
		return err == nil && run.State.Final()
	})
	n, err := r.plane.RunNode(t.Context(), run.ID, "dup")
	if err != nil || n.State != record.NodeFailed || n.Error.Code != record.CodeUnreachable || !strings.Contains(n.Error.Message, "is that of node a") {
		t.Errorf("%s, %+v, %v", n.State, n.Error, err)
	}
	if _, answer := get(t, url+"/api/unstable/actions/finished"); strings.Contains(answer, "test.success") {
		t.Errorf("the agent of node a got %s", answer)
	}
	if _, err := i.etcd.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	eventually(t, "dup can be forgotten", func() bool { return r.plane.Forget(t.Context(), "c", "dup") == nil })
}

// hostileKeys puts keys of nodes into etcd, beside that of the node a, and asks agents that answer badly.
func hostileKeys(t *testing.T, i *installation, r *running) {
	answers := map[string]string{ // by the path of the agent's URL
		"nul": `{"node_status":"HEALTHY","attributes":{"a\u0000b":1}}`, "deep": `{"node_status":"HEALTHY","attributes":` + nested(250) + `}`,
		"huge": `{"node_status":"HEALTHY","attributes":{"n":1e400}}`, "twice": `{"node_status":"HEALTHY","attributes":{"n":1,"n":2}}`, "raw": "{\"node_status\":\"HEALTHY\",\"role\":\"\xff\"}",
	}
	agents := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		name, _, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/"), "/")
		_, _ = io.WriteString(w, answers[name])
	}))
	t.Cleanup(agents.Close)
	keys := map[string]string{
		"key-nul": `{"agent_url":"http://127.0.0.1:1","status":"HEALTHY","attributes":{"a\u0000b":1}}`, "key-deep": `{"agent_url":"http://127.0.0.1:1","attributes":` + nested(250) + `}`,
		"key-huge": `{"agent_url":"http://127.0.0.1:1","attributes":{"n":1e400}}`, "key-raw": "{\"agent_url\":\"http://127.0.0.1:1\",\"role\":\"\xff\"}", "key-none": "no JSON",
		"key-url": `{"agent_url":"http://127.0.0.1:1\u0000"}`, "key-twice": `{"agent_url":"http://127.0.0.1:1","status":"UNHEALTHY","status":"HEALTHY"}`, "key-null": `null`, "key-file": `{"agent_url":"file:///etc/passwd","status":"HEALTHY"}`,
		"key-port": `{"agent_url":"http://127.0.0.1:99999","status":"HEALTHY"}`, "key-host": `{"agent_url":"http://:80","status":"HEALTHY"}`,
	}
	for name := range answers {
		keys["agent-"+name] = `{"agent_url":"` + agents.URL + "/" + name + `"}`
	}
	for name, value := range keys {
		if _, err := i.etcd.Put(t.Context(), i.prefix+"/clusters/c/nodes/"+name, value); err != nil {
			t.Fatal(err)
		}
	}
	var known map[string]record.Node
	eventually(t, "all nodes are known", func() bool {
		nodes, err := r.plane.Nodes(t.Context(), "c")
		known = map[string]record.Node{}
		for _, n := range nodes {
			known[n.NodeID] = n
		}
		return err == nil && len(nodes) == 1+len(keys)
	})
	for name, n := range known {
		if bad := strings.HasPrefix(name, "key-"); bad && (n.StatusReason == "" || n.Status == record.StatusHealthy) || name == "a" && n.Status != record.StatusHealthy {
			t.Errorf("%s is %s: %q", name, n.Status, n.StatusReason)
		}
	}
	for name := range known {
		if !strings.HasPrefix(name, "key-") {
			continue
		}
		if _, err := i.etcd.Delete(t.Context(), i.prefix+"/clusters/c/nodes/"+name); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" can be forgotten", func() bool { return r.plane.Forget(t.Context(), "c", name) == nil })
	}
}

// hostilePayloads runs an action on agents that answer with what cannot be stored. Each such node fails with that reason, and the run
// goes to its end meanwhile; so does the next one.
func hostilePayloads(t *testing.T, i *installation, r *running) {
	ends := map[string]string{ // by node
		"nul": `"payload":{"a\u0000b":1}`, "deep": `"payload":` + nested(1200), "huge": `"payload":{"n":1e400}`, "twice": `"payload":{"n":1,"n":2}`, "raw": "\"payload\":{\"a\":\"\xff\"}",
		"large": `"payload":{"a":"` + strings.Repeat("x", 1<<20) + `"}`, "good": `"payload":{"$a.b":[1],"":2},"stdout_tail":"a\u0000b"`,
	}
	words := map[string]string{"nul": "NUL", "deep": "64 levels", "huge": "1e400", "twice": `"n" is given twice`, "raw": "not UTF-8", "large": "larger than", "good": ""}
	agents := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		name, path, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/"), "/api/unstable/")
		switch {
		case request.Method == http.MethodPost:
			var action struct{ ID string }
			_ = json.NewDecoder(request.Body).Decode(&action)
			_, _ = fmt.Fprintf(w, `{"id":%q}`, action.ID)
		case strings.HasPrefix(path, "action/"):
			_, _ = fmt.Fprintf(w, `{"id":%q,"kind":"x/x","state":{"phase":"DONE",%s}}`, strings.TrimPrefix(path, "action/"), ends[name])
		case path == "info/node":
			_, _ = io.WriteString(w, `{"node_status":"HEALTHY"}`)
		case path == "info/shards":
			_, _ = io.WriteString(w, `{"shards":[]}`)
		default:
			_, _ = io.WriteString(w, `{}`)
		}
	}))
	t.Cleanup(agents.Close)
	for name := range ends {
		if _, err := i.etcd.Put(t.Context(), i.prefix+"/clusters/hostile/nodes/"+name, `{"agent_url":"`+agents.URL+"/"+name+`"}`); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all nodes are known", func() bool {
		known, err := r.plane.Nodes(t.Context(), "hostile")
		return err == nil && len(known) == len(ends)
	})
	const text = "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: hostile}\nspec:\n  stages:\n" +
		`    - {name: s, batch: "100%", max_failures: "100%", health: none, steps: [{name: a, action: x/x}]}` + "\n"
	if _, err := r.plane.Apply(t.Context(), []client.File{{Name: "hostile.yaml", Data: []byte(text)}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		run, err := r.plane.Start(t.Context(), record.RunRequest{Playbook: "hostile", Cluster: "hostile"})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the run ends", func() bool {
			run, err = r.plane.Run(t.Context(), run.ID)
			return err == nil && run.State.Final()
		})
		nodes, err := r.plane.RunNodes(t.Context(), run.ID, nil, 0)
		if err != nil || len(nodes) != len(ends) {
			t.Fatalf("%d nodes, %v", len(nodes), err)
		}
		for _, n := range nodes {
			word := words[n.Node]
			if good := word == ""; good != (n.State == record.NodeDone) || !good && (n.Error.Code != record.CodeBadPayload || !strings.Contains(n.Error.Message, word)) {
				t.Errorf("%s is %s: %+v", n.Node, n.State, n.Error)
			}
			if want := map[string]any{"$a.b": []any{int64(1)}, "": int64(2)}; word == "" && !reflect.DeepEqual(map[string]any(n.Actions[0].Payload), want) {
				t.Errorf("%s has the payload %v", n.Node, n.Actions[0].Payload)
			}
		}
	}
}
