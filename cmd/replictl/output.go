package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
)

// output is where the tool writes its results. It keeps the first error.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(data []byte) (int, error) {
	n, err := o.Writer.Write(data)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// isClosed tells whether the reader of the output has gone: the tool then ends without a word.
func (o *output) isClosed() bool { return errors.Is(o.err, syscall.EPIPE) }

// list prints items: as an array, or as a table with one row each. header names the columns, separated by tabs.
func (t *tool) list(items any, header string, count int, row func(i int) []string) error {
	if t.format != "table" {
		return t.print(items)
	}
	lines := [][]string{strings.Split(header, "\t")}
	for i := range count {
		lines = append(lines, row(i))
	}
	_, err := io.WriteString(t.out, rows(lines))
	return err
}

// one prints a single thing: as an object, or as text writes it. What text writes is escaped.
func (t *tool) one(item any, text func(w io.Writer)) error {
	if t.format != "table" {
		return t.print(item)
	}
	var shown strings.Builder
	text(&shown)
	_, err := io.WriteString(t.out, escapedLines(shown.String()))
	return err
}

// print writes value as JSON or YAML, with the names and the order of its JSON.
func (t *tool) print(value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return err
	}
	if t.format == "yaml" {
		return writeYAML(t.out, text.Bytes())
	}
	_, err := io.WriteString(t.out, escapedJSON(text.String()))
	return err
}

// escapedJSON is JSON whose strings are escaped: outside them only spaces and line breaks could be.
func escapedJSON(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && notPrinted(r) }) {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || !notPrinted(r):
			out.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return out.String()
}

func (t *tool) printf(format string, args ...any) {
	_, _ = io.WriteString(t.out, escapedLines(fmt.Sprintf(format+"\n", args...)))
}

// note prints a line beside the output.
func (t *tool) note(format string, args ...any) {
	_, _ = io.WriteString(t.err, escapedLines(fmt.Sprintf(format+"\n", args...)))
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func when(ts *time.Time) string {
	if ts == nil || ts.IsZero() {
		return "-"
	}
	return ts.UTC().Format(time.RFC3339)
}

// list is names as text, at most ten of them.
func list(names []string) string {
	if len(names) > 10 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:10], ", "), len(names)-10)
	}
	return strings.Join(names, ", ")
}
