package playbook

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/record"
)

// walk goes through documents and collects what is wrong with them.
type walk struct {
	file        string
	text        *source             // nil for a tree that was not read from text
	known       map[*yaml.Node]bool // nodes that were reported: nothing more is said about their types
	scope       *scope              // of the document that is being walked
	problems    record.Problems
	unsupported record.Problems
}

func (w *walk) problem(n *yaml.Node, path, code, format string, args ...any) record.Problem {
	return record.Problem{File: w.file, Line: n.Line, Column: n.Column, Path: path, Code: code, Message: fmt.Sprintf(format, args...)}
}

// add reports a problem at n. The message starts with the last part of the path where there is one.
func (w *walk) add(n *yaml.Node, path, code, format string, args ...any) {
	p := w.problem(n, path, code, format, args...)
	if path != "" {
		p.Message = path[strings.LastIndexByte(path, '.')+1:] + ": " + p.Message
	}
	w.problems = append(w.problems, p)
}

// report reports a problem at n, after which nothing more is said about the type of n.
func (w *walk) report(n *yaml.Node, path, code, format string, args ...any) {
	if w.known == nil {
		w.known = map[*yaml.Node]bool{}
	}
	w.known[n] = true
	w.add(n, path, code, format, args...)
}

// wrongType reports that n is not what is wanted.
func (w *walk) wrongType(n *yaml.Node, path, wanted string) {
	if !w.known[n] {
		w.add(n, path, codeWrongType, "must be %s, not %s", wanted, describe(n))
	}
}

// object is a mapping whose keys are being asked for.
type object struct {
	*walk
	node   *yaml.Node
	path   string
	asked  []string
	keys   []*yaml.Node
	values map[string]*yaml.Node
}

// object starts to read a mapping. What is no mapping is reported and read as an empty one; ok is then false.
func (w *walk) object(n *yaml.Node, path string) (o *object, ok bool) {
	n = target(n)
	o = &object{walk: w, node: n, path: path, values: map[string]*yaml.Node{}}
	if n.Kind != yaml.MappingNode {
		w.wrongType(n, path, "a mapping (key: value)")
		return o, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if w.known[key] || key.Kind != yaml.ScalarNode {
			continue
		}
		o.keys = append(o.keys, key)
		o.values[key.Value] = target(n.Content[i+1])
	}
	return o, true
}

func (o *object) at(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

// get is the value of a key, or nil when it is not given. A key without a value is reported.
func (o *object) get(key string) *yaml.Node {
	o.asked = append(o.asked, key)
	n := o.values[key]
	if n == nil {
		return nil
	}
	if isNull(n) {
		o.add(o.key(key), o.at(key), codeMissing, "has no value; give one, or remove the key")
		return nil
	}
	return n
}

// key is where a key stands.
func (o *object) key(name string) *yaml.Node {
	for _, key := range o.keys {
		if key.Value == name {
			return key
		}
	}
	return o.node
}

// need is get for a key that must be there. What says what would be right.
func (o *object) need(key, what string) *yaml.Node {
	n := o.get(key)
	if n == nil && o.values[key] == nil && o.node.Kind == yaml.MappingNode {
		o.add(o.node, o.at(key), codeMissing, "is missing; %s", what)
	}
	return n
}

// end reports the keys that nobody asked for.
func (o *object) end() {
	for _, key := range o.keys {
		if !slices.Contains(o.asked, key.Value) {
			o.add(key, o.at(key.Value), codeUnknownKey, "unknown key%s", o.hint(key.Value))
		}
	}
}

// renamed are keys that earlier versions had under another name.
var renamed = map[string]string{"order": "order_by", "pause": "batch_pause", "within": "groups"}

// hint is the end of the message about an unknown key.
func (o *object) hint(key string) string {
	if now := renamed[key]; slices.Contains(o.asked, now) {
		return "; " + key + " was renamed to " + now
	}
	return didYouMean(key, o.asked)
}

// unsupportedKey notes that nothing acts on a key that is given.
func (o *object) unsupportedKey(key string) {
	o.unsupported = append(o.unsupported,
		o.problem(o.key(key), o.at(key), codeNotSupported, "%s is not supported yet; remove it", key))
}

// list reads a list of at least one and at most most items. A list that is missing gives none.
func (w *walk) list(n *yaml.Node, path string, most int, what string, item func(i int, n *yaml.Node, path string)) {
	if n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode {
		w.wrongType(n, path, "a list of "+what)
		return
	}
	if len(n.Content) == 0 {
		w.add(n, path, codeMissing, "is empty; it needs at least one")
	}
	if len(n.Content) > most {
		w.add(n.Content[most], path, codeTooLarge, "has %d %s; at most %d are allowed", len(n.Content), what, most)
	}
	for i, child := range n.Content[:min(len(n.Content), most)] {
		item(i, target(child), fmt.Sprintf("%s[%d]", path, i))
	}
}

// textOf reads text of at most most characters. One that is missing is "".
func (w *walk) textOf(n *yaml.Node, path string, most int) (string, bool) {
	if n == nil {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || !isText(n) {
		if n.Kind == yaml.ScalarNode && !isNull(n) && !w.known[n] {
			w.add(n, path, codeWrongType, "must be text, not %s; quote it: %s", describe(n), quote(n.Value))
		} else {
			w.wrongType(n, path, "text")
		}
		return "", false
	}
	if utf8.RuneCountInString(n.Value) > most {
		w.add(n, path, codeTooLarge, "is longer than %d characters", most)
		return "", false
	}
	return n.Value, true
}

// truth reads true or false.
func (w *walk) truth(n *yaml.Node, path string) bool {
	if n == nil {
		return false
	}
	if n.Kind == yaml.ScalarNode && n.Tag == tagBool {
		return value(n).(bool)
	}
	hint := ""
	if n.Kind == yaml.ScalarNode && isText(n) {
		switch strings.ToLower(n.Value) {
		case "yes", "y", "on", "true":
			hint = "; write true"
		case "no", "n", "off", "false":
			hint = "; write false"
		}
	}
	if !w.known[n] {
		w.add(n, path, codeWrongType, "must be true or false, not %s%s", describe(n), hint)
	}
	return false
}

// integer reads a whole number from least to most.
func (w *walk) integer(n *yaml.Node, path string, least, most int) (int, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != tagInt || w.known[n] {
		w.wrongType(n, path, "a whole number")
		return 0, false
	}
	number, _ := value(n).(int64)
	if number < int64(least) || number > int64(most) {
		w.add(n, path, codeBadValue, "must be from %d to %d, not %s", least, most, n.Value)
		return 0, false
	}
	return int(number), true
}

// maxDuration bounds every duration of a playbook.
const maxDuration = 30 * 24 * time.Hour

// duration reads a duration of at least least. One that is missing, or wrong, is otherwise.
func (w *walk) duration(n *yaml.Node, path string, least, otherwise time.Duration) time.Duration {
	if n == nil {
		return otherwise
	}
	if n.Kind != yaml.ScalarNode || !isText(n) {
		wanted := "a duration such as 30s"
		if n.Kind == yaml.ScalarNode && n.Tag == tagInt {
			wanted = fmt.Sprintf("a duration with a unit, such as %ss", n.Value)
		}
		w.wrongType(n, path, wanted)
		return otherwise
	}
	d, err := time.ParseDuration(n.Value)
	switch {
	case err != nil:
		w.add(n, path, codeBadValue, "must be a duration such as 500ms, 30s or 1h30m, not %s", quote(n.Value))
		return otherwise
	case d < least || d > maxDuration:
		w.add(n, path, codeBadValue, "must be from %s to %s, not %s", formatDuration(least), formatDuration(maxDuration), n.Value)
		return otherwise
	}
	return d
}

// formatDuration writes a duration the way people do: 10m, not 10m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// choice reads one of a few words. One that is missing, or wrong, is the first.
func choice[T ~string](w *walk, n *yaml.Node, path string, words ...T) T {
	if n == nil {
		return words[0]
	}
	known := make([]string, len(words))
	for i, word := range words {
		known[i] = string(word)
	}
	if n.Kind != yaml.ScalarNode || !isText(n) {
		w.wrongType(n, path, "one of "+strings.Join(known, ", "))
		return words[0]
	}
	if !slices.Contains(known, n.Value) {
		hint := ""
		if near := nearest(n.Value, known); near != "" {
			hint = "; did you mean " + near + "?"
		}
		w.add(n, path, codeBadValue, "must be one of %s, not %s%s", strings.Join(known, ", "), quote(n.Value), hint)
		return words[0]
	}
	return T(n.Value)
}

const maxName = 63

var (
	dnsLabel  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	plainName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	// celWords cannot be selected in an expression, as in results.true.
	celWords = []string{"true", "false", "null", "in"}
)

// name reads the name of a stage, a step or a param, which is unique among names.
func (w *walk) name(n *yaml.Node, path string, names map[string]int) string {
	name, ok := w.textOf(n, path, maxName)
	switch {
	case !ok:
		return ""
	case !plainName.MatchString(name):
		hint := ""
		if better := strings.Map(func(r rune) rune {
			if r == '-' || r == ' ' || r == '.' {
				return '_'
			}
			return unicode.ToLower(r)
		}, name); plainName.MatchString(better) {
			hint = ", such as " + better
		}
		w.add(n, path, codeBadName, "must be a lower-case letter and then lower-case letters, digits and _%s, not %s", hint, quote(name))
		return ""
	case slices.Contains(celWords, name):
		w.add(n, path, codeBadName, "%s is a word of the expression language; choose another", quote(name))
		return ""
	}
	if line, twice := names[name]; twice {
		where := ""
		if line > 0 {
			where = " at line " + strconv.Itoa(line)
		}
		w.add(n, path, codeDuplicate, "%s is already used%s; choose another", quote(name), where)
		return ""
	}
	names[name] = n.Line
	return name
}
