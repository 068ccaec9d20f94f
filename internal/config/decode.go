package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxFile bounds a configuration file; a longer one is not one.
const maxFile = 1 << 20

// decode reads the file into root, a struct, strictly, and notes what is wrong. It returns what viper may see: the
// values, as text, of the keys that environment and flags can give. viper lower-cases keys and splits them on dots,
// so the operators' own (attributes, actions) must not pass through it.
func (s *source) decode(root reflect.Value) map[string]any {
	s.lines = map[string]int{}
	if s.file == "" {
		return nil
	}
	document, err := s.read()
	if err != nil {
		s.problems = append(s.problems, err)
		return nil
	}
	if document == nil {
		return nil
	}
	return s.decodeStruct(document, "", root, false)
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// read returns the root of the file's one document, or nil for an empty one.
func (s *source) read() (*yaml.Node, error) {
	file, err := os.Open(s.file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d bytes: that is no configuration file", s.file, maxFile)
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		match := yamlLine.FindStringSubmatch(err.Error())
		if match == nil || match[1] == "" {
			return nil, fmt.Errorf("%s: %w", s.file, err)
		}
		return nil, fmt.Errorf("%s:%s: this is no YAML: %s", s.file, match[1], match[2])
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s holds more than one document: a configuration file is one", s.file)
	}
	node := document.Content[0]
	if node.Tag == "!!null" {
		return nil, nil
	}
	return node, nil
}

// wrong notes a problem at a place in the file.
func (s *source) wrong(node *yaml.Node, path, format string, args ...any) {
	if path == "" {
		path = "the file"
	}
	s.problems = append(s.problems, fmt.Errorf("%s:%d: %s: %s", s.file, node.Line, path, fmt.Sprintf(format, args...)))
}

// decodeStruct decodes the keys of a mapping into v. Where fileOnly is false, the scalars are not set but returned.
func (s *source) decodeStruct(node *yaml.Node, path string, v reflect.Value, fileOnly bool) map[string]any {
	fields := map[string]reflect.StructField{}
	for i := range v.NumField() {
		fields[v.Type().Field(i).Tag.Get("key")] = v.Type().Field(i)
	}
	scalars := map[string]any{}
	s.eachKey(node, path, func(name, path string, key, value *yaml.Node) {
		field, known := fields[name]
		if !known {
			s.wrong(key, path, "unknown key%s", suggest(name, fields))
			return
		}
		target := v.FieldByIndex(field.Index)
		only := fileOnly || field.Tag.Get("only") != ""
		switch kind := target.Kind(); {
		case kind == reflect.Struct:
			if under := s.decodeStruct(value, path, target, only); len(under) > 0 {
				scalars[name] = under
			}
		case kind == reflect.Pointer:
			target.Set(reflect.New(target.Type().Elem()))
			s.decodeStruct(value, path, target.Elem(), true)
		case target.Type() == reflect.TypeFor[map[string]Command]():
			commands := map[string]Command{}
			s.eachKey(value, path, func(name, path string, _, value *yaml.Node) {
				var command Command
				s.decodeStruct(value, path, reflect.ValueOf(&command).Elem(), true)
				commands[name] = command
			})
			target.Set(reflect.ValueOf(commands))
		case kind == reflect.Map:
			s.decodeFree(value, path, target)
		case kind == reflect.Slice:
			if list := s.list(value, path); only {
				target.Set(reflect.ValueOf(list))
			} else {
				scalars[name] = strings.Join(list, ",")
			}
		default:
			text, ok := s.text(value, path)
			if !ok {
				return
			}
			if !only {
				scalars[name] = text
			} else if err := parse(target, text); err != nil {
				s.wrong(value, path, "%v", err)
			}
		}
	})
	return scalars
}

// eachKey calls take for every key of a mapping that has a value, with the key's full path.
func (s *source) eachKey(node *yaml.Node, path string, take func(name, path string, key, value *yaml.Node)) {
	node = resolve(node)
	if node.Kind != yaml.MappingNode {
		s.wrong(node, path, "must be a mapping of keys to values")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		full := strings.TrimPrefix(path+"."+key.Value, ".")
		if key.Kind != yaml.ScalarNode {
			s.wrong(key, path, "a key must be a plain word")
			continue
		}
		if line, twice := seen[key.Value]; twice {
			s.wrong(key, full, "is there twice, first in line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		s.lines[full] = key.Line
		if resolve(value).Tag != "!!null" {
			take(key.Value, full, key, value)
		}
	}
}

// decodeFree decodes what the operators' may fill as they like, as long as it is JSON.
func (s *source) decodeFree(node *yaml.Node, path string, target reflect.Value) {
	if resolve(node).Kind != yaml.MappingNode {
		s.wrong(node, path, "must be a mapping of keys to values")
		return
	}
	free := map[string]any{}
	err := node.Decode(&free)
	if err == nil {
		_, err = json.Marshal(free)
	}
	if err != nil {
		s.wrong(node, path, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	target.Set(reflect.ValueOf(free))
}

func (s *source) list(node *yaml.Node, path string) []string {
	node = resolve(node)
	if node.Kind != yaml.SequenceNode {
		s.wrong(node, path, "must be a list of texts, such as [one, two]")
		return nil
	}
	var list []string
	for i, item := range node.Content {
		if text, ok := s.text(item, path+"["+strconv.Itoa(i)+"]"); ok {
			list = append(list, text)
		}
	}
	return list
}

func (s *source) text(node *yaml.Node, path string) (string, bool) {
	node = resolve(node)
	if node.Kind != yaml.ScalarNode {
		s.wrong(node, path, "must be a single value")
		return "", false
	}
	return node.Value, true
}

func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// suggest says which known key may have been meant.
func suggest[T any](name string, known map[string]T) string {
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, n)
	}
	slices.Sort(names)
	best, distance := "", max(2, len(name)/3)+1
	for _, n := range names {
		if d := edits(strings.ToLower(name), n); d < distance {
			best, distance = n, d
		}
	}
	if best != "" {
		return fmt.Sprintf(": did you mean %s?", best)
	}
	return ": known here are " + strings.Join(names, ", ")
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
