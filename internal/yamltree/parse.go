package yamltree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/record"
)

// Parse reads the documents of a YAML or JSON text of at most limit bytes. It returns the roots of those that may be
// walked: neither empty documents nor those that the checks refuse as a whole. What is wrong is in the reader's
// problems. The file name is only used in messages.
func Parse(file string, data []byte, limit int) (*Reader, []Value) {
	r := &Reader{file: file}
	content, problem := decode(data, limit)
	if problem != nil {
		problem.File = file
		r.problems = record.Problems{*problem}
		return r, nil
	}
	r.text = newText(withoutDirective(content))
	roots, problem := r.text.documents()
	if problem != nil {
		problem.File = file
		r.problems = append(r.problems, *problem)
	}
	var walkable []Value
	for _, root := range roots {
		if r.check(root) {
			walkable = append(walkable, Value{node: root})
		}
	}
	return r, walkable
}

// Load makes the tree that Parse would make of a value written as YAML. The root is not given if the checks refuse it.
// The problems of its reader have no line and no column.
func Load(value any) (*Reader, Value, error) {
	normal, err := record.Normalize(value)
	if err != nil {
		return nil, Value{}, err
	}
	r, root := &Reader{}, treeOf(normal)
	if !r.check(root) {
		return r, Value{}, nil
	}
	return r, Value{node: root}, nil
}

// decode returns data as a string, or the reason why it is not text.
func decode(data []byte, limit int) (string, *record.Problem) {
	if len(data) > limit {
		return "", &record.Problem{Line: 1, Column: 1, Code: CodeTooLarge,
			Message: fmt.Sprintf("the text has %d bytes; at most %d are allowed", len(data), limit)}
	}
	for _, order := range []string{"\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(data, []byte(order)) {
			return "", &record.Problem{Line: 1, Column: 1, Code: CodeEncoding,
				Message: "the text is UTF-16, as its first two bytes show; save it as UTF-8"}
		}
	}
	content := strings.TrimPrefix(string(data), "\ufeff")
	for i := 0; i < len(content); {
		r, size := utf8.DecodeRuneInString(content[i:])
		message := ""
		switch {
		case r == utf8.RuneError && size == 1:
			message = fmt.Sprintf("the byte 0x%02x is not valid UTF-8; save the text as UTF-8", content[i])
		case r == 0:
			message = "the text contains a NUL character; if it is UTF-16, save it as UTF-8"
		case !printable(r):
			message = fmt.Sprintf("the control character U+%04X is not allowed; remove it", r)
		}
		if message != "" {
			line, column := newText(content[:i]).place(i)
			return "", &record.Problem{Line: line, Column: column, Code: CodeEncoding, Message: message}
		}
		i += size
	}
	return content, nil
}

// printable reports whether YAML allows a character. See section 5.1 of the YAML 1.2 specification.
func printable(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r', r == 0x85:
		return true
	case r < 0x20, r >= 0x7f && r < 0xa0, r == 0xfffe, r == 0xffff:
		return false
	}
	return true
}

// documents returns the roots of all documents up to the first syntax error. Empty documents are left out.
func (t *text) documents() ([]*yaml.Node, *record.Problem) {
	var roots []*yaml.Node
	failure := scan(t.content, func(root *yaml.Node) {
		if !isNull(root) {
			roots = append(roots, root)
		}
	})
	if failure == "" {
		return roots, nil
	}
	return roots, t.syntaxError(failure)
}

// syntaxError is the problem for an error of the YAML parser.
func (t *text) syntaxError(failure string) *record.Problem {
	line := t.firstBad(failure)
	content := t.line(line)
	indent := content[:len(content)-len(strings.TrimLeft(content, " \t"))]
	problem := &record.Problem{Line: line, Column: utf8.RuneCountInString(indent) + 1, Code: CodeYAML}
	if anchor, unknown := strings.CutPrefix(failure, "unknown anchor '"); unknown {
		name := strings.TrimSuffix(anchor, "' referenced")
		problem.Message = fmt.Sprintf("*%s refers to an anchor that is not defined before it; define &%s first", name, name)
		if at := strings.Index(content, "*"+name); at >= 0 {
			problem.Column = utf8.RuneCountInString(content[:at]) + 1
		}
	} else if tab := strings.IndexByte(indent, '\t'); tab >= 0 {
		problem.Message = "YAML cannot be indented with tabs; use spaces"
		problem.Column = utf8.RuneCountInString(content[:tab]) + 1
	} else if at, column, hint := t.slip(line); hint != "" {
		problem.Line, problem.Column, problem.Message = at, column, hint+" (not valid YAML: "+failure+")"
	} else {
		problem.Message = "this is not valid YAML: " + failure + failureHints[failure] + t.invisibleHint(line)
	}
	return problem
}

// linePrefix is how yaml.v3 reports the line. The number cannot be trusted: it may be that of the line before, or of the
// line where the surrounding list or mapping began.
var linePrefix = regexp.MustCompile(`^(?:line \d+: )?`)

// scan passes the root of every document to found and returns why it stopped, or "" at the end.
func scan(content string, found func(root *yaml.Node)) (failure string) {
	defer func() {
		// The parser panics on a few texts with comments in odd places. Such a text must not end the program.
		if panicked := recover(); panicked != nil {
			failure = fmt.Sprint(panicked)
		}
	}()
	decoder := yaml.NewDecoder(strings.NewReader(content))
	for {
		var document yaml.Node
		if err := decoder.Decode(&document); err != nil {
			if errors.Is(err, io.EOF) {
				return ""
			}
			message := strings.TrimPrefix(err.Error(), "yaml: ")
			return message[len(linePrefix.FindString(message)):]
		}
		if document.Kind == yaml.DocumentNode && len(document.Content) == 1 {
			found(document.Content[0])
		}
	}
}

// firstBad is the first line with which the text fails this way: the parser reads forward, so later lines do not matter.
func (t *text) firstBad(failure string) int {
	return 1 + sort.Search(len(t.starts)-1, func(i int) bool {
		return scan(t.content[:t.starts[i+1]], func(*yaml.Node) {}) == failure
	})
}
