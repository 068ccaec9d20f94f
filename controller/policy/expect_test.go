package policy_test

import (
	"testing"

	"github.com/replicante-io/playbooks/controller/policy"
	"github.com/replicante-io/playbooks/record"
)

func TestExpectDecidesWhetherAnActionSucceeded(t *testing.T) {
	code := func(n int) *int { return &n }
	failed := &record.Error{Code: record.CodeExit}
	for name, c := range map[string]struct {
		expect string
		end    policy.Ended
		node   record.NodeState
		code   string
	}{
		"an exit code that is fine":   {`result.exit_code in [0, 3]`, policy.Ended{State: record.ActionFailed, ExitCode: code(3), Error: failed}, record.NodeDone, ""},
		"one that is not":             {`result.exit_code in [0, 3]`, policy.Ended{State: record.ActionFailed, ExitCode: code(1), Error: failed}, record.NodeFailed, record.CodeExpect},
		"a success that is none":      {`result.payload.moved > 0`, policy.Ended{State: record.ActionDone, Payload: record.Document{"moved": int64(0)}}, record.NodeFailed, record.CodeExpect},
		"a payload that is as wanted": {`result.payload.moved > 0`, policy.Ended{State: record.ActionDone, Payload: record.Document{"moved": int64(2)}}, record.NodeDone, ""},
		"an expression that fails":    {`result.payload.moved > 0`, policy.Ended{State: record.ActionDone}, record.NodeFailed, record.CodeExpression},
		"an action that was lost":     {`true`, policy.Ended{State: record.ActionFailed, Error: &record.Error{Code: record.CodeLost}}, record.NodeFailed, record.CodeLost},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, "  stages:\n    - name: s\n      health: none\n      steps: [{name: a, action: x/a, expect: '"+c.expect+"'}]\n")
			w.apply(policy.Admit{})
			w.observe()
			action := w.nodes["node-1"].Actions[0]
			c.end.Node, c.end.ActionID = "node-1", action.ID
			delete(w.orders, "node-1")
			w.apply(c.end)
			w.want("node-1", c.node)
			if err := w.nodes["node-1"].Error; c.code != "" && (err == nil || err.Code != c.code) {
				t.Errorf("the error is %+v", err)
			}
		})
	}
}
