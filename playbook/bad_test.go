package playbook_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

var update = flag.Bool("update", false, "write the problems that were found to testdata/bad.txt, to be reviewed")

// heads are the texts that the first line of a case stands for.
var heads = map[string]string{
	"SPEC\n": `apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: x}
spec:
  stages: [{name: a, steps: [{name: one, action: x}]}]
`,
	"STAGE\n": `apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: x}
spec:
  stages:
    - name: a
      steps: [{name: one, action: x}]
`,
	"STEP\n": `apiVersion: replicante.io/v1
kind: Playbook
metadata: {name: x}
spec:
  stages:
    - name: a
      steps:
        - name: one
          action: x
`,
}

func expand(text string) string {
	for word, head := range heads {
		if rest, ok := strings.CutPrefix(text, word); ok {
			text = head + rest
		}
	}
	return strings.ReplaceAll(text, "LONG", `"`+strings.Repeat("x", 5000)+`" == node.id`)
}

// TestBadPlaybooksAreRefusedWithPlaceCodeAndReason reads cases of testdata/bad.txt: a name, a text, and after "--- want"
// every problem of it as line:column code path: message.
func TestBadPlaybooksAreRefusedWithPlaceCodeAndReason(t *testing.T) {
	data, err := os.ReadFile("testdata/bad.txt")
	if err != nil {
		t.Fatal(err)
	}
	var written strings.Builder
	cases := strings.Split(string(data), "=== ")[1:]
	if len(cases) < 80 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		name, body, _ := strings.Cut(c, "\n")
		text, want, _ := strings.Cut(body, "--- want\n")
		var found strings.Builder
		t.Run(name, func(t *testing.T) {
			_, err := playbook.Parse("bad.yaml", []byte(expand(text)))
			var problems record.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("it was accepted: %v", err)
			}
			for _, p := range problems {
				fmt.Fprintf(&found, "%d:%d %s %s | %s\n", p.Line, p.Column, p.Code, p.Path, p.Message)
				if p.File != "bad.yaml" {
					t.Errorf("file is %q", p.File)
				}
			}
			if found.String() != want && !*update {
				t.Errorf("found\n%swant\n%s", found.String(), want)
			}
		})
		fmt.Fprintf(&written, "=== %s\n%s--- want\n%s", name, text, found.String())
	}
	if *update {
		if err := os.WriteFile("testdata/bad.txt", []byte(written.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
