package yamltree

import (
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// text finds lines and columns in a text. Both count from 1, columns in characters.
type text struct {
	content string
	starts  []int // where each line starts, in bytes
}

func newText(content string) *text {
	t := &text{content: content, starts: []int{0}}
	for i := 0; i < len(content); {
		size := lineBreak(content[i:])
		if size == 0 {
			i++
			continue
		}
		i += size
		t.starts = append(t.starts, i)
	}
	return t
}

// lineBreak is the length of the line break that s starts with, or 0. YAML 1.1, which the parser follows, knows five.
func lineBreak(s string) int {
	switch {
	case strings.HasPrefix(s, "\r\n"):
		return 2
	case strings.HasPrefix(s, "\n"), strings.HasPrefix(s, "\r"):
		return 1
	case strings.HasPrefix(s, "\u0085"):
		return 2
	case strings.HasPrefix(s, "\u2028"), strings.HasPrefix(s, "\u2029"):
		return 3
	}
	return 0
}

// line is the text of a line without its break.
func (t *text) line(number int) string {
	if number < 1 || number > len(t.starts) {
		return ""
	}
	end := len(t.content)
	if number < len(t.starts) {
		end = t.starts[number]
	}
	return strings.TrimRight(t.content[t.starts[number-1]:end], "\r\n\u0085\u2028\u2029")
}

// place is the line and column of a byte of the text.
func (t *text) place(offset int) (line, column int) {
	low, high := 0, len(t.starts)
	for high-low > 1 {
		middle := (low + high) / 2
		if t.starts[middle] <= offset {
			low = middle
		} else {
			high = middle
		}
	}
	return low + 1, utf8.RuneCountInString(t.content[t.starts[low]:offset]) + 1
}

// inside is the place of a character of a scalar's value. It is found by reading the text of the scalar beside the value;
// where the two differ, it is the place of the scalar.
func (t *text) inside(n *yaml.Node, character int) (line, column int) {
	if n.Line < 1 || n.Line > len(t.starts) {
		return n.Line, n.Column
	}
	at := t.starts[n.Line-1]
	for i := 1; i < n.Column && at < len(t.content); i++ {
		_, size := utf8.DecodeRuneInString(t.content[at:])
		at += size
	}
	reader := &scalarReader{content: t.content, at: at, style: n.Style}
	if !reader.begin() {
		return n.Line, n.Column
	}
	value := n.Value
	for i := 0; i < character && value != ""; i++ {
		r, size := utf8.DecodeRuneInString(value)
		value = value[size:]
		if !reader.next(r) {
			return n.Line, n.Column
		}
	}
	return t.place(min(reader.at, len(t.content)))
}
