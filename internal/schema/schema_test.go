package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/keys"
	"github.com/replicante-io/playbooks/internal/keys/keystest"
	"github.com/replicante-io/playbooks/internal/schema"
	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// parsers parse a document of each kind.
var parsers = map[string]func(t *rapid.T, document []byte) error{
	"playbook": parse, "schedule": parse, "freeze": parse,
	"replicore": func(t *rapid.T, document []byte) error {
		_, err := config.LoadCore(written(t, document), nil)
		return err
	},
	"repliagent": func(t *rapid.T, document []byte) error {
		_, err := config.LoadAgent(written(t, document), nil)
		return err
	},
}

func parse(_ *rapid.T, document []byte) error {
	_, err := playbook.ParseDocuments("x.yaml", document)
	return err
}

func written(t *rapid.T, document []byte) string {
	dir, err := os.MkdirTemp("", "schema")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "x.yaml")
	if err := os.WriteFile(file, document, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// beyond are the problems about which a schema says nothing: they are of expressions, compare one value with another, or concern
// what a value stands for.
var beyond = regexp.MustCompile(strings.Join([]string{
	`but the expression returns`, `expression is (empty|longer)`, `there is no `,
	`is a reserved word`, `at least two stages`, `must be the stage that follows`, `has an approval, but`,
	`no effect without a timeout`, `must be shorter than the timeout`, `must be at least the backoff`, `requires a health check`, `requires rollback steps`,
	`cannot have a default`, `default: must be`, `cannot contain an expression`, `must be between \S+[a-z]\S* and`, // durations
	`is not a valid (address|URL|id|name|prefix|host name)`, `is not a host name`, `(etcd\.endpoints|store\.url|node\.id|node\.cluster|store\.database|data_dir|api\.advertise)\b.* is missing`,
	`can be reached from other machines`, `nobody can reach`, `no other machine can reach`, `a user name`, `are mixed`, `is not the URL of`, `absolute path`,
	`is set, but etcd`, `read etcd.password_file`, `etcd.password_file is missing`, `must be whole seconds`, `must be at least \d+(ms|h)`, `must be greater than`, `must not be (shorter|negative)`,
	`is not a valid time`, `never comes`, `time_zone: `, `cron: `, `cannot be given together`, `must be later than from`, `write from, to or both`, `is not a valid cluster`,
	`has no command`, `: (name|data_dir) is missing`,
}, "|"))

// TestTheParserAndTheSchemaAgreeOnRandomDocuments changes a valid document at random. What the parser accepts is valid by the schema; and what the schema
// accepts, the parser refuses only for reasons that a schema cannot know.
func TestTheParserAndTheSchemaAgreeOnRandomDocuments(t *testing.T) {
	for _, kind := range schema.Kinds {
		t.Run(kind, func(t *testing.T) {
			compiled := compile(t, kind)
			samples := samplesOf(t, kind)
			if unused := keystest.Unused(schema.Table(kind), samples...); len(unused) > 0 {
				t.Fatalf("testdata/%s.yaml does not use %v", kind, unused)
			}
			var accepted, refused, further int
			one := func(t *rapid.T) {
				document := rapid.SampledFrom(samples).Draw(t, "sample")
				for range rapid.IntRange(0, 3).Draw(t, "changes") {
					document = changed(t, schema.Table(kind), document)
				}
				text, err := json.Marshal(document)
				if err != nil {
					t.Fatal(err)
				}
				parsed := parsers[kind](t, text)
				instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				invalid := compiled.Validate(instance)
				switch {
				case parsed == nil && invalid != nil:
					t.Fatalf("the parser accepts, and the schema does not: %v\n%s", invalid, text)
				case parsed == nil:
					accepted++
				case invalid != nil:
					refused++
				default:
					further++
					for problem := range strings.Lines(messages(parsed)) {
						if !beyond.MatchString(problem) {
							t.Fatalf("the schema accepts, and the parser does not: %s\n%s", problem, text)
						}
					}
				}
			}
			rapid.Check(t, func(t *rapid.T) {
				for range 10 {
					one(t)
				}
			})
			if accepted == 0 || refused == 0 {
				t.Errorf("both accept %d documents, both refuse %d: nothing was compared", accepted, refused)
			}
			t.Logf("both accept %d documents, both refuse %d, only the parser refuses %d", accepted, refused, further)
		})
	}
}

// beyondCodes are codes of which every problem is beyond a schema.
var beyondCodes = []string{"bad_expression", "unknown_param", "duplicate"}

// messages are the problems of an error, without those that are beyond a schema by their codes.
func messages(err error) string {
	var lines []string
	var problems record.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			if !slices.Contains(beyondCodes, p.Code) {
				lines = append(lines, p.String())
			}
		}
		return strings.Join(lines, "\n")
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			lines = append(lines, one.Error())
		}
		return strings.Join(lines, "\n")
	}
	return err.Error()
}

func compile(t *testing.T, kind string) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.JSON(kind)))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiler.AddResource(kind+".json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile(kind + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// samplesOf are valid documents that use all keys.
func samplesOf(t *testing.T, kind string) []any {
	t.Helper()
	text, err := os.ReadFile("testdata/" + kind + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	reader, roots := yamltree.Parse(kind, text, 1<<20)
	if problems := reader.Problems(); len(problems) > 0 {
		t.Fatal(problems)
	}
	var samples []any
	for _, root := range roots {
		samples = append(samples, root.Decode())
	}
	return samples
}

// others are values that take the place of another one.
var others = []any{nil, true, false, int64(0), int64(1), int64(-1), int64(101), int64(2_000_000), 1.5, "", " ", "a", "A b", "true", "node.id", "x == ", "none", "required", "shared", "pause", "rollback",
	"25%", "0%", "101%", "2", "30s", "0s", "30", "800h", "health", "http://etcd-1:2379", "127.0.0.1:1", "debug", "2026-12-01T00:00:00Z", strings.Repeat("x", 5000),
	[]any{}, []any{int64(1)}, []any{"a"}, []any{[]any{"a", "b"}}, map[string]any{}, map[string]any{"a": "true"}, map[string]any{"": "b"}, map[string]any{"A": int64(1)}}

// changed is the document with a change at a random place: another value, a key less, or a key more.
func changed(t *rapid.T, table *keys.Mapping, value any) any {
	other := rapid.SampledFrom(append(slices.Clone(others), value))
	if alike := slices.DeleteFunc(slices.Clone(others), func(o any) bool { return reflect.TypeOf(o) != reflect.TypeOf(value) }); len(alike) > 0 && rapid.Bool().Draw(t, "alike") {
		other = rapid.SampledFrom(alike)
	}
	switch value := value.(type) {
	case map[string]any:
		names := slices.Sorted(maps.Keys(value))
		changedMap := maps.Clone(value)
		switch what := rapid.IntRange(0, 19).Draw(t, "what"); {
		case what == 0:
			return other.Draw(t, "other")
		case what == 1 && len(names) > 0:
			delete(changedMap, rapid.SampledFrom(names).Draw(t, "key"))
		case what == 2:
			changedMap[rapid.SampledFrom(namesOf(table)).Draw(t, "key")] = other.Draw(t, "other")
		case len(names) > 0:
			name := rapid.SampledFrom(names).Draw(t, "key")
			changedMap[name] = changed(t, table, value[name])
		}
		return changedMap
	case []any:
		changedList := slices.Clone(value)
		switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
		case what == 0 || len(value) == 0:
			return other.Draw(t, "other")
		case what == 1:
			changedList = append(changedList, value[0])
		default:
			i := rapid.IntRange(0, len(value)-1).Draw(t, "item")
			changedList[i] = changed(t, table, value[i])
		}
		return changedList
	}
	return other.Draw(t, "other")
}

// namesOf are the names of all keys of a table, and some that it does not have.
func namesOf(table *keys.Mapping) []string {
	names := []string{"x-any", "foo", ""}
	for _, path := range keystest.Unused(table) {
		names = append(names, path[strings.LastIndexByte(path, '.')+1:])
	}
	return names
}

func TestEveryKeyHasADescription(t *testing.T) {
	for _, kind := range schema.Kinds {
		for path, about := range abouts(schema.Table(kind), "") {
			if !strings.HasSuffix(about, ".") {
				t.Errorf("%s: %s is described as %q: write a sentence", kind, path, about)
			}
		}
	}
}

func abouts(t keys.Type, path string) map[string]string {
	found := map[string]string{}
	switch t := t.(type) {
	case *keys.Mapping:
		for _, k := range t.Keys {
			found[path+"."+k.Name] = k.About
			maps.Copy(found, abouts(k.Type, path+"."+k.Name))
		}
	case keys.List:
		return abouts(t.Of, path)
	case keys.Map:
		return abouts(t.Of, path)
	case keys.OneOf:
		for _, one := range t {
			maps.Copy(found, abouts(one, path))
		}
	}
	return found
}
