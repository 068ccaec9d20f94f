//go:build integration

// Package etcd_test follows the example as a user would, while clients write and the control plane is killed.
package etcd_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/example"
)

func TestARollingRestartLosesNoWriteAndRestartsTheLeaderLast(t *testing.T) {
	x, urls := start(t)
	leader := x.primary()
	writer := example.StartWriter(t, x.put(urls))
	x.Start("rolling-restart.yaml", "etcd-rolling-restart", nil)
	x.KillInAction("restart")
	x.Done(2)
	acknowledged := writer.Stop(t)
	var last, moved string
	var latest record.Action
	for _, n := range x.Nodes() {
		for _, a := range n.Actions {
			if a.Step == "move_leader" {
				moved += n.Node
			}
			if a.StartTS.After(latest.StartTS) {
				latest, last = a, n.Node
			}
		}
	}
	if last != leader || moved != leader {
		t.Errorf("the leader was %s; the last restart was that of %s, and leadership was moved from %q", leader, last, moved)
	}
	x.check(urls, acknowledged)
}

func TestAMemberThatLostItsDiskIsReplaced(t *testing.T) {
	x, urls := start(t)
	writer := example.StartWriter(t, x.put(urls[:2]))
	x.Script("stop-member.sh", filepath.Join(x.Dir, "etcd-3"))
	if err := os.RemoveAll(filepath.Join(x.Dir, "etcd-3", "data")); err != nil {
		t.Fatal(err)
	}
	x.Start("replace-member.yaml", "etcd-replace-member", record.Document{"member": "etcd-3"})
	x.KillInAction("join")
	x.Done(2)
	x.check(urls, writer.Stop(t))
}

type installation struct{ *example.Example }

func start(t *testing.T) (installation, []string) {
	testenv.Program(t, "etcd", "etcd")
	testenv.Program(t, "etcd", "etcdctl")
	ports := example.Ports(t, 3)
	var urls []string
	for _, port := range strings.Fields(ports) {
		urls = append(urls, "http://127.0.0.1:"+port)
	}
	return installation{example.New(t, "etcd", 3, "CLIENT_PORTS="+ports, "PEER_PORTS="+example.Ports(t, 3))}, urls
}

// primary is the member that leads.
func (x installation) primary() string {
	x.T.Helper()
	nodes, err := x.Plane.Nodes(x.T.Context(), "etcd")
	if err != nil {
		x.T.Fatal(err)
	}
	for _, n := range nodes {
		if n.Role == "PRIMARY" {
			return n.NodeID
		}
	}
	x.T.Fatalf("no member leads: %+v", nodes)
	return ""
}

// put writes a value by one of the members, in turn.
func (x installation) put(urls []string) func(ctx context.Context, value int) error {
	return func(ctx context.Context, value int) error {
		_, err := call(ctx, urls[value%len(urls)]+"/v3/kv/put", map[string]any{"key": key(value), "value": key(value)})
		return err
	}
}

// check checks that each member has all acknowledged values.
func (x installation) check(urls []string, acknowledged []int) {
	x.T.Helper()
	for _, url := range urls {
		answer, err := call(x.T.Context(), url+"/v3/kv/range", map[string]any{
			"key": encoded("key-"), "range_end": encoded("key."), "serializable": true, "keys_only": true})
		if err != nil {
			x.T.Fatal(err)
		}
		var list struct {
			Items []struct{ Key string } `json:"kvs"`
		}
		if err := json.Unmarshal(answer, &list); err != nil {
			x.T.Fatal(err)
		}
		there := map[string]bool{}
		for _, item := range list.Items {
			there[item.Key] = true
		}
		for _, value := range acknowledged {
			if !there[key(value)] {
				x.T.Errorf("%s has lost the acknowledged value %d", url, value)
			}
		}
	}
}

func key(value int) string { return encoded("key-" + strconv.Itoa(value)) }

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// call sends a request to the HTTP gateway of a member.
func call(ctx context.Context, url string, body any) ([]byte, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, answer.Status, text)
	}
	return text, err
}
