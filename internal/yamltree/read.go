package yamltree

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// String reads a string of at most limit characters. Nil is read as "", without a problem.
func (r *Reader) String(n *yaml.Node, path string, limit int) (s string, ok bool) {
	if n == nil {
		return "", false
	}
	if !IsString(n) {
		if n.Kind == yaml.ScalarNode && !IsNull(n) && !r.reported[n] {
			r.Add(n, path, CodeWrongType, "must be a string, not %s; quote it: %s", Describe(n), Quote(n.Value))
		} else {
			r.WrongType(n, path, "a string")
		}
		return "", false
	}
	if utf8.RuneCountInString(n.Value) > limit {
		r.Add(n, path, CodeTooLarge, "is longer than %d characters", limit)
		return "", false
	}
	return n.Value, true
}

// Bool reads true or false. Nil is read as false, without a problem.
func (r *Reader) Bool(n *yaml.Node, path string) (b, ok bool) {
	if n == nil {
		return false, false
	}
	if n.Kind == yaml.ScalarNode && n.Tag == tagBool && !r.reported[n] {
		return Value(n).(bool), true
	}
	hint := ""
	if IsString(n) {
		switch strings.ToLower(n.Value) {
		case "yes", "y", "on", "true":
			hint = "; write true"
		case "no", "n", "off", "false":
			hint = "; write false"
		}
	}
	if !r.reported[n] {
		r.Add(n, path, CodeWrongType, "must be true or false, not %s%s", Describe(n), hint)
	}
	return false, false
}

// Int reads an integer from least to most.
func (r *Reader) Int(n *yaml.Node, path string, least, most int) (i int, ok bool) {
	if !IsInt(n) || r.reported[n] {
		r.WrongType(n, path, "an integer")
		return 0, false
	}
	number, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil || number < int64(least) || number > int64(most) {
		r.Add(n, path, CodeBadValue, "must be between %d and %d, not %s", least, most, n.Value)
		return 0, false
	}
	return int(number), true
}

// Duration reads a duration such as 30s. Nil is read as 0, without a problem.
func (r *Reader) Duration(n *yaml.Node, path string) (d time.Duration, ok bool) {
	if n == nil {
		return 0, false
	}
	if !IsString(n) {
		wanted := "a duration such as 30s"
		if IsInt(n) {
			wanted = fmt.Sprintf("a duration with a unit, such as %ss", n.Value)
		}
		r.WrongType(n, path, wanted)
		return 0, false
	}
	d, err := ParseDuration(n.Value)
	if err != nil {
		r.Add(n, path, CodeBadValue, "%s", err)
		return 0, false
	}
	return d, true
}

// ParseDuration reads a duration such as 30s. The error says how to write one.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%s is not a valid duration; write for example 500ms, 30s or 1h30m", Quote(s))
	}
	return d, nil
}

// FormatDuration writes a duration without its parts that are 0: 10m instead of 10m0s.
func FormatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Choice reads one of a few words. Anything else is reported and read as the first; nil too, without a problem.
func Choice[T ~string](r *Reader, n *yaml.Node, path string, words ...T) (word T, ok bool) {
	if n == nil {
		return words[0], false
	}
	known := make([]string, len(words))
	for i, word := range words {
		known[i] = string(word)
	}
	if !IsString(n) {
		r.WrongType(n, path, "one of "+strings.Join(known, ", "))
		return words[0], false
	}
	if !slices.Contains(known, n.Value) {
		hint := ""
		if near := Nearest(n.Value, known); near != "" {
			hint = "; did you mean " + near + "?"
		}
		r.Add(n, path, CodeBadValue, "must be one of %s, not %s%s", strings.Join(known, ", "), Quote(n.Value), hint)
		return words[0], false
	}
	return T(n.Value), true
}

// List passes the items of a list, which must have between 1 and limit of them, to item. Nil has no items, without a
// problem.
func (r *Reader) List(n *yaml.Node, path string, limit int, items string, item func(i int, n *yaml.Node, path string)) {
	if n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.WrongType(n, path, "a list of "+items)
		return
	}
	if len(n.Content) == 0 {
		r.Add(n, path, CodeMissing, "is empty; at least one is required")
	}
	if len(n.Content) > limit {
		r.Add(n.Content[limit], path, CodeTooLarge, "has %d %s; at most %d are allowed", len(n.Content), items, limit)
	}
	for i, child := range n.Content[:min(len(n.Content), limit)] {
		item(i, Target(child), Index(path, i))
	}
}

// Index is the path of an item of the list at path.
func Index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
