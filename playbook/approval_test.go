package playbook_test

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/playbook"
)

func TestMessagesOfApprovals(t *testing.T) {
	for text, want := range map[string]string{
		`plain`:                              "plain",
		`'restart ${run.cluster}?'`:          "restart orders?",
		`'$${run.cluster}'`:                  "${run.cluster}",
		`'${run.cluster}'`:                   "orders",
		`'${[run.cluster, run.playbook]}'`:   `["orders","full"]`,
		`'${run.cluster.substring(9)} gone'`: "${run.cluster.substring(9)} gone",
	} {
		spec := parse(t, "STAGE\n  approval: {message: "+text+"}\n")[0].Spec
		if got := spec.Approval.Message.Text(someVars()); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestWhatIsWrongWithAnApproval(t *testing.T) {
	for text, want := range map[string]string{
		`maybe`:                                    "none",
		`'is it well?'`:                            "{message: …}",
		`{message: '${node.id}'}`:                  "params and run only, not node",
		`{message: '${size(nodes)}'}`:              "params and run only, not nodes",
		`{message: '${results.a.one}'}`:            "params and run only, not results",
		`{on_timeout: approve}`:                    "without a timeout",
		`{timeout: 1h, on_timeout: fail}`:          "reject",
		`{timeout: 0s}`:                            "between",
		`{mesage: x}`:                              "message",
		`{message: '${params.nothing}'}`:           "nothing",
		`{timeout: 1h, on_timeout: approve, x: 1}`: "x",
	} {
		for _, document := range []string{"STAGE\n  approval: " + text + "\n", "STAGE\n      approval: " + text + "\n"} {
			_, err := playbook.Parse("test.yaml", []byte(expand(document)))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", text, err, want)
			}
		}
	}
}
