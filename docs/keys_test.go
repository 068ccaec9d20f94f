package docs_test

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/keys/keystest"
	"github.com/replicante-io/playbooks/internal/schema"
	"github.com/replicante-io/playbooks/internal/yamltree"
)

// TestTheReferenceHasAnExampleForEveryKey looks for each key of the parser's tables in the blocks of YAML of the reference.
func TestTheReferenceHasAnExampleForEveryKey(t *testing.T) {
	s := readSample(t)
	examples := map[string][]any{}
	for _, b := range blocks(t, reference) {
		if b.lang != "yaml" {
			continue
		}
		text, kind := b.text, ""
		switch key, _, _ := strings.Cut(text, ":"); key {
		case "- name":
			text, kind = s.playbook+indented(text, 4), "playbook"
		case "name":
			kind = "replicore"
		case "node":
			kind = "repliagent"
		}
		_, roots := yamltree.Parse(b.String(), []byte(text), 1<<20)
		for _, root := range roots {
			of := kind
			if k := root.Child("kind"); k.IsString() {
				of = strings.ToLower(k.Text())
			}
			examples[of] = append(examples[of], root.Decode())
		}
	}
	for _, kind := range schema.Kinds {
		if missing := keystest.Unused(schema.Table(kind), examples[kind]...); len(missing) > 0 {
			t.Errorf("reference.md has no example of these keys of %s: %s", kind, strings.Join(missing, ", "))
		}
	}
}
