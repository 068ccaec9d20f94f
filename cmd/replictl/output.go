package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"gopkg.in/yaml.v3"
)

// list prints items: as an array, or as a table with one row each.
func (t *tool) list(items any, header string, rows int, row func(i int) string) error {
	if t.output != "table" {
		return t.print(items)
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, header)
	for i := range rows {
		_, _ = fmt.Fprintln(table, row(i))
	}
	return table.Flush()
}

// one prints a single thing: as an object, or as text writes it.
func (t *tool) one(item any, text func(w io.Writer)) error {
	if t.output != "table" {
		return t.print(item)
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	text(table)
	return table.Flush()
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
	if t.output == "json" {
		_, err := t.out.Write(text.Bytes())
		return err
	}
	var node yaml.Node // JSON is YAML; the node keeps the order
	if err := yaml.Unmarshal(text.Bytes(), &node); err != nil {
		return err
	}
	useBlockStyle(&node)
	writer := yaml.NewEncoder(t.out)
	writer.SetIndent(2)
	if err := writer.Encode(&node); err != nil {
		return err
	}
	return writer.Close()
}

func useBlockStyle(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		useBlockStyle(child)
	}
}

func (t *tool) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(t.out, format+"\n", args...)
}

// note prints a line beside the output.
func (t *tool) note(format string, args ...any) {
	_, _ = fmt.Fprintf(t.err, format+"\n", args...)
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

// cut makes text one line of at most width characters, without what would move a terminal's cursor.
func cut(text string, width int) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text))
	if len(runes) <= width {
		return strings.TrimRight(string(runes), " ")
	}
	if width < 2 {
		return string(runes[:max(width, 0)])
	}
	return string(runes[:width-1]) + "…"
}
