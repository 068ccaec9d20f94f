package playbook_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// TestTheReferenceNamesEveryKey takes the keys from the problem about an unknown one.
func TestTheReferenceNamesEveryKey(t *testing.T) {
	reference, err := os.ReadFile("../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	_, keys, _ := strings.Cut(string(reference), "## Playbook keys")
	keys, _, _ = strings.Cut(keys, "\n## ")
	for _, text := range []string{"SPEC\n  qqq: 1\n", "STAGE\n      qqq: 1\n", "STEP\n          qqq: 1\n"} {
		_, err := playbook.Parse("x.yaml", []byte(expand(text)))
		var problems record.Problems
		if !errors.As(err, &problems) {
			t.Fatal(err)
		}
		_, known, found := strings.Cut(problems[0].Message, "expected one of ")
		if !found {
			t.Fatalf("no keys in %q", problems[0].Message)
		}
		for key := range strings.SplitSeq(known, ", ") {
			if !strings.Contains(keys, key) {
				t.Errorf("docs/reference.md does not name %s", key)
			}
		}
	}
}
