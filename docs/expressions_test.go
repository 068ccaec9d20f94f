package docs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

const expressions = "expressions.md"

// sample is the playbook and the facts on which the documents show examples.
type sample struct {
	playbook string
	spec     record.Document
	vars     playbook.Vars
}

func readSample(t *testing.T) sample {
	t.Helper()
	found := blocks(t, expressions)
	if len(found) < 2 { // they are the last two
		t.Fatalf("%s has no sample", expressions)
	}
	text, vars := found[len(found)-2], found[len(found)-1]
	parsed, err := playbook.Parse(text.String(), []byte(text.text))
	if err != nil {
		t.Fatal(err)
	}
	return sample{playbook: text.text, spec: parsed[0].Document, vars: playbook.Vars(document(t, vars, vars.text))}
}

func document(t *testing.T, b block, text string) record.Document {
	t.Helper()
	var d record.Document
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return d
}

// withStage is the sample's playbook with one more stage.
func (s sample) withStage(t *testing.T, stage map[string]any) (*playbook.Stage, error) {
	t.Helper()
	spec := record.Document{}
	for key, value := range s.spec {
		spec[key] = value
	}
	stages := spec["stages"].([]any)
	spec["stages"] = append(stages[:len(stages):len(stages)], any(stage))
	loaded, err := playbook.Load(spec)
	if err != nil {
		return nil, err
	}
	return &loaded.Stages[len(stages)], nil
}

// args are the args of a step of the sample, compiled.
func (s sample) args(t *testing.T, args any) (*playbook.Template, error) {
	t.Helper()
	stage, err := s.withStage(t, map[string]any{"name": "example", "steps": []any{
		map[string]any{"name": "example", "action": "x/example", "args": args}}})
	if err != nil {
		return nil, err
	}
	return stage.Steps[0].Args, nil
}

// example is an expression, and the comment behind it that says what it gives.
type example struct {
	block
	text, want string
}

// examples are those of a block: an expression may take several lines, and the comment with its result ends it.
func examples(t *testing.T, b block) []example {
	t.Helper()
	var found []example
	text := ""
	for i, line := range strings.Split(strings.TrimRight(b.text, "\n"), "\n") {
		part, want, ends := strings.Cut(line, " // ")
		text += part + "\n"
		if ends {
			found = append(found, example{block{b.file, b.line + i, b.lang, ""}, strings.TrimSpace(text), strings.TrimSpace(want)})
			text = ""
		}
	}
	if strings.TrimSpace(text) != "" {
		t.Errorf("%s: %s has no comment with its result", b, text)
	}
	return found
}

func TestExpressionsOfTheDocumentsGiveWhatTheySay(t *testing.T) {
	s := readSample(t)
	count := 0
	for _, b := range of(t, "cel") {
		for _, x := range examples(t, b) {
			count++
			if got := s.result(t, x.text); !agrees(x.want, got) {
				t.Errorf("%s: %s gives %s, and the document says %s", x, x.text, got, x.want)
			}
		}
	}
	if count < 50 {
		t.Errorf("only %d examples were found", count)
	}
}

// result is what an expression gives, as JSON, or why it gives nothing.
func (s sample) result(t *testing.T, text string) string {
	args, err := s.args(t, map[string]any{"value": "${" + text + "}"})
	if err != nil {
		return "refused: " + reason(err)
	}
	resolved, err := args.Resolve(s.vars)
	switch {
	case errors.Is(err, playbook.ErrAbsent):
		return "absent: " + strings.TrimSuffix(err.Error(), " is absent")
	case err != nil:
		return "fails: " + strings.TrimPrefix(err.Error(), "expression "+yamltree.Quote(text)+": ")
	}
	encoded, err := json.Marshal(resolved["value"])
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// reason is the first problem.
func reason(err error) string {
	var problems record.Problems
	if errors.As(err, &problems) && len(problems) > 0 {
		return strings.TrimPrefix(problems[0].Message, "value: ")
	}
	return err.Error()
}

// agrees compares a result with what a document says, which may be the beginning of why something is absent, fails or is refused.
func agrees(want, got string) bool {
	if kind, _, _ := strings.Cut(want, ":"); kind == "absent" || kind == "fails" || kind == "refused" {
		return strings.HasPrefix(got, want)
	}
	var a, b any
	if json.Unmarshal([]byte(want), &a) == nil && json.Unmarshal([]byte(got), &b) == nil {
		return cmp.Equal(a, b)
	}
	return want == got
}

func TestArgsOfTheDocumentsBecomeWhatTheySay(t *testing.T) {
	s := readSample(t)
	count := 0
	for _, file := range files(t) {
		found := blocks(t, file)
		for i, b := range found {
			if b.lang != "yaml" || !strings.HasPrefix(b.text, "args:") {
				continue
			}
			if i+1 == len(found) || found[i+1].lang != "json" {
				t.Errorf("%s: no block with the result follows", b)
				continue
			}
			count++
			result := found[i+1]
			stage, err := playbook.Parse(b.String(), []byte(s.playbook+
				"    - name: example\n      steps:\n        - name: example\n          action: x/example\n"+indented(b.text, 10)))
			if err != nil {
				t.Error(err)
				continue
			}
			stages := stage[0].Spec.Stages
			got, err := stages[len(stages)-1].Steps[0].Args.Resolve(s.vars)
			if err != nil {
				t.Errorf("%s: %v", b, err)
			} else if diff := cmp.Diff(document(t, result, result.text), got); diff != "" {
				t.Errorf("%s (-document +program):\n%s", result, diff)
			}
		}
	}
	if count == 0 {
		t.Error("no args were found")
	}
}

func indented(text string, by int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			fmt.Fprintf(&b, "%*s%s", by, "", line)
		}
	}
	return b.String()
}

// TestTheOrderOfTheDocumentsIsThatOfTheProgram sorts the nodes of the sample by each order_by of the table.
func TestTheOrderOfTheDocumentsIsThatOfTheProgram(t *testing.T) {
	s := readSample(t)
	count := 0
	for line := range strings.Lines(section(t, expressions, "## Order")) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.Contains(cells[1], "`") || strings.TrimSpace(cells[1]) == "`order_by`" {
			continue
		}
		count++
		text := strings.Trim(strings.TrimSpace(strings.ReplaceAll(cells[1], `\|`, "|")), "`")
		want := strings.TrimSpace(cells[2])
		if got := s.order(t, text); got != want {
			t.Errorf("order_by %s gives %s, and the document says %s", text, got, want)
		}
	}
	if count == 0 {
		t.Error("no order was found")
	}
}

func (s sample) order(t *testing.T, text string) string {
	t.Helper()
	stage, err := s.withStage(t, map[string]any{"name": "example", "order_by": text, "steps": []any{
		map[string]any{"name": "example", "action": "x/example"}}})
	if err != nil {
		t.Fatalf("order_by %s: %v", text, err)
	}
	var ids []string
	var values []any
	for _, n := range s.vars["nodes"].([]any) {
		vars := playbook.Vars{}
		for name, value := range s.vars {
			vars[name] = value
		}
		vars["node"] = n
		value, err := stage.OrderBy.Value(vars)
		if errors.Is(err, playbook.ErrAbsent) {
			continue
		}
		at := 0
		for ; err == nil && at < len(values); at++ {
			var by int
			if by, err = playbook.Compare(value, values[at]); by < 0 {
				break
			}
		}
		if err != nil {
			t.Fatalf("order_by %s: %v", text, err)
		}
		ids = append(ids[:at:at], append([]string{n.(map[string]any)["id"].(string)}, ids[at:]...)...)
		values = append(values[:at:at], append([]any{value}, values[at:]...)...)
	}
	return strings.Join(ids, ", ")
}
