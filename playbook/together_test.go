package playbook_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/playbook"
)

func withTogether(together string) string {
	text := "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: x}\nspec:\n  together: " + together + "\n  stages:\n"
	for _, name := range []string{"a", "b", "c", "d"} {
		approval := "none"
		if name == "a" || name == "d" {
			approval = "required"
		}
		text += fmt.Sprintf("    - {name: %s, approval: %s, steps: [{name: one, action: x}]}\n", name, approval)
	}
	return text + "    - {name: e, always: true, steps: [{name: one, action: x}]}\n"
}

func TestStagesThatRunTogether(t *testing.T) {
	spec := parse(t, withTogether("[[a, b, c]]"))[0].Spec
	if got := fmt.Sprint(spec.TogetherWith("b"), spec.TogetherWith("d")); got != "[a b c] []" {
		t.Error(got)
	}
	for together, want := range map[string]string{
		"[a, b]":           "[[stop, promote]]",
		"a":                "list",
		"[[a]]":            "at least two",
		"[[a, c]]":         `must be the stage that follows "a", not "c"`,
		"[[b, a]]":         `must be the stage that follows "b", not "a"`,
		"[[a, b], [b, c]]": `"b" is already in a list`,
		"[[a, a]]":         `"a" is already in a list`,
		"[[c, d]]":         "only the first of them can have one",
		"[[d, e]]":         `stage "e" always runs at the end of the run`,
		"[[a, bb]]":        `there is no stage "bb"`,
	} {
		_, err := playbook.Parse("test.yaml", []byte(withTogether(together)))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "together") {
			t.Errorf("%s: %v, want %q", together, err, want)
		}
	}
}
