package yamltree

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/replicante-io/playbooks/internal/spelling"
)

// String reads a string of at most limit characters that all YAML parsers read as one. If v is not given it is "", without a problem.
func (r *Reader) String(v Value, limit int) (s string, ok bool) {
	if !v.Given() {
		return "", false
	}
	if !v.IsString() {
		if v.isScalar() && !v.isNull() && !r.Reported(v) {
			r.Add(v, CodeWrongType, "must be a string, not %s; quote it: %s", v.Describe(), Quote(v.Text()))
		} else {
			r.WrongType(v, "a string")
		}
		return "", false
	}
	if !r.checkAmbiguous(v, "") {
		return "", false
	}
	if utf8.RuneCountInString(v.Text()) > limit {
		r.Add(v, CodeTooLarge, "is longer than %d characters", limit)
		return "", false
	}
	return v.Text(), true
}

// Bool reads true or false. If v is not given it is false, without a problem.
func (r *Reader) Bool(v Value) (b, ok bool) {
	if !v.Given() {
		return false, false
	}
	if v.IsBool() && !r.Reported(v) {
		return v.Decode().(bool), true
	}
	hint := ""
	if v.IsString() {
		switch strings.ToLower(v.Text()) {
		case "yes", "y", "on", "true":
			hint = "; write true"
		case "no", "n", "off", "false":
			hint = "; write false"
		}
	}
	if !r.Reported(v) {
		r.Add(v, CodeWrongType, "must be true or false, not %s%s", v.Describe(), hint)
	}
	return false, false
}

// Int reads an integer from least to most.
func (r *Reader) Int(v Value, least, most int) (i int, ok bool) {
	if !v.IsInt() || r.Reported(v) {
		r.WrongType(v, "an integer")
		return 0, false
	}
	number, err := strconv.ParseInt(v.Text(), 10, 64)
	if err != nil || number < int64(least) || number > int64(most) {
		r.Add(v, CodeBadValue, "must be between %d and %d, not %s", least, most, v.Text())
		return 0, false
	}
	return int(number), true
}

// Duration reads a duration such as 30s. If v is not given it is 0, without a problem.
func (r *Reader) Duration(v Value) (d time.Duration, ok bool) {
	if !v.Given() {
		return 0, false
	}
	if !v.IsString() {
		wanted := "a duration such as 30s"
		if v.IsInt() {
			wanted = fmt.Sprintf("a duration with a unit, such as %ss", v.Text())
		}
		r.WrongType(v, wanted)
		return 0, false
	}
	d, err := ParseDuration(v.Text())
	if err != nil {
		r.Add(v, CodeBadValue, "%s", err)
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

// Choice reads one of a few strings. Anything else is reported and read as the first of them; so is v if it is not given,
// without a problem.
func Choice[T ~string](r *Reader, v Value, choices ...T) (choice T, ok bool) {
	if !v.Given() {
		return choices[0], false
	}
	known := make([]string, len(choices))
	for i, choice := range choices {
		known[i] = string(choice)
	}
	if !v.IsString() {
		r.WrongType(v, "one of "+strings.Join(known, ", "))
		return choices[0], false
	}
	if !slices.Contains(known, v.Text()) {
		hint := ""
		if near := spelling.Nearest(v.Text(), known); near != "" {
			hint = "; did you mean " + near + "?"
		}
		r.Add(v, CodeBadValue, "must be one of %s, not %s%s", strings.Join(known, ", "), Quote(v.Text()), hint)
		return choices[0], false
	}
	return T(v.Text()), true
}

// List passes the items of a list, which must have between 1 and limit of them, to item. If v is not given it has no
// items, without a problem.
func (r *Reader) List(v Value, limit int, items string, item func(i int, v Value)) {
	if !v.Given() {
		return
	}
	if !v.IsList() {
		r.WrongType(v, "a list of "+items)
		return
	}
	all := v.Items()
	if len(all) == 0 {
		r.Add(v, CodeMissing, "is empty; at least one is required")
	}
	if len(all) > limit {
		r.Add(Value{all[limit].node, v.path}, CodeTooLarge, "has %d %s; at most %d are allowed", len(all), items, limit)
	}
	for i, one := range all[:min(len(all), limit)] {
		item(i, one)
	}
}
