package run

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/record"
)

func TestTheDataOfAnEventIsJSONInEveryFormatOfTheLog(t *testing.T) {
	events := []record.Event{{Type: record.EventActionFailed, Node: "n1", Stage: "s", Step: "a", Data: record.Document{
		"code": "exit", "about": map[string]any{"exit_code": int64(143), "nodes": []any{map[string]any{"node": "n1"}}}, "attempt": int64(1)}}}
	var text, structured bytes.Buffer
	logEvents(hclog.New(&hclog.LoggerOptions{Output: &text}), events)
	logEvents(hclog.New(&hclog.LoggerOptions{Output: &structured, JSONFormat: true}), events)
	if line := strings.ReplaceAll(text.String(), `\"`, `"`); !strings.Contains(line, `{"exit_code":143,"nodes":[{"node":"n1"}]}`) || strings.Contains(line, "map[") {
		t.Errorf("logged %s", line)
	}
	var fields struct {
		About struct {
			ExitCode int `json:"exit_code"`
		} `json:"about"`
	}
	if err := json.Unmarshal(structured.Bytes(), &fields); err != nil || fields.About.ExitCode != 143 {
		t.Errorf("logged %s: %v", structured.String(), err)
	}
}
