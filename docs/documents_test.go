// Package docs_test keeps the documents true: what they show is evaluated, validated and compared with the code.
package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// block is a fenced block of a document.
type block struct {
	file string
	line int // of its first line of text
	lang string
	text string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.file, b.line) }

// files are all documents.
func files(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"*.md", "decisions/*.md", "../*.md", "../examples/*/README.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no documents match %s: %v", pattern, err)
		}
		found = append(found, names...)
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks are the fenced blocks of a document. A fence in a list is indented, and its text with it.
func blocks(t *testing.T, file string) []block {
	t.Helper()
	var found []block
	var open *block
	indent := ""
	for i, line := range strings.Split(read(t, file), "\n") {
		fence := strings.TrimLeft(line, " ")
		switch {
		case !strings.HasPrefix(fence, "```"):
			if open != nil {
				open.text += strings.TrimPrefix(line, indent) + "\n"
			}
		case open == nil:
			indent = line[:len(line)-len(fence)]
			open = &block{file: file, line: i + 2, lang: strings.TrimPrefix(fence, "```")}
		default:
			found = append(found, *open)
			open = nil
		}
	}
	if open != nil {
		t.Fatalf("%s: the block is not closed", open)
	}
	return found
}

// of are the blocks of all documents in one language.
func of(t *testing.T, lang string) []block {
	t.Helper()
	var found []block
	for _, file := range files(t) {
		for _, b := range blocks(t, file) {
			if b.lang == lang {
				found = append(found, b)
			}
		}
	}
	return found
}

// section is the text of a document from a heading to the next one of the same level or above.
func section(t *testing.T, file, heading string) string {
	t.Helper()
	_, text, found := strings.Cut("\n"+read(t, file), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", file, heading)
	}
	level := strings.Count(strings.Fields(heading)[0], "#")
	var b strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		fenced = fenced != strings.HasPrefix(strings.TrimSpace(line), "```")
		if marks, _, isHeading := strings.Cut(line, "# "); isHeading && !fenced && strings.Trim(marks, "#") == "" && len(marks)+1 <= level {
			break
		}
		b.WriteString(line)
	}
	return b.String()
}
