package playbook

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/record"
)

// The codes of problems. They are stable: programs may rely on them.
const (
	codeYAML          = "yaml"           // the text is not YAML, or uses what is refused of it
	codeEncoding      = "encoding"       // the text is not UTF-8, or has control characters
	codeTooLarge      = "too_large"      // something is over a limit
	codeUnknownKey    = "unknown_key"    // no such key
	codeWrongType     = "wrong_type"     // a list where text is wanted, an expression that gives text where bool is wanted
	codeMissing       = "missing"        // something required is not there, or has no value
	codeDuplicate     = "duplicate"      // a key or a name for the second time
	codeBadName       = "bad_name"       // a name that breaks the rules of names
	codeBadValue      = "bad_value"      // the right type, but not a value that is allowed
	codeUnknownParam  = "unknown_param"  // a param that is not declared
	codeBadExpression = "bad_expression" // an expression or a template that does not compile
	codeNotSupported  = "not_supported"  // understood, but nothing acts on it yet
)

const (
	maxProblems = 500     // of a file; more tell nobody more
	maxNodes    = 100_000 // of a document, in values, with every alias written out
	maxExpanded = 4 << 20 // of a document, in bytes of its values, with every alias written out
	maxDepth    = 64      // of lists and mappings in each other
)

// Parse reads every playbook of a YAML (or JSON) text. The error, when there is one, is Problems: everything that is
// wrong in any of its documents; the playbooks beside it are good for nothing but Unsupported. The file is only for
// messages.
func Parse(file string, data []byte) ([]*Playbook, error) {
	text, problem := decode(data)
	if problem != nil {
		problem.File = file
		return nil, record.Problems{*problem}
	}
	w := &walk{file: file, text: newSource(text)}
	documents, bad := read(w.text)
	var playbooks []*Playbook
	names := map[string]int{}
	for _, document := range documents {
		tree := document.Content[0]
		if !w.check(tree) {
			continue
		}
		p, name := w.playbook(tree)
		if name != nil {
			if line, twice := names[name.Value]; twice {
				w.add(name, "metadata.name", codeDuplicate, "%s is already the name of the playbook at line %d", quote(name.Value), line)
			} else {
				names[name.Value] = name.Line
			}
		}
		playbooks = append(playbooks, p)
	}
	switch {
	case bad != nil:
		bad.File = file
		w.problems = append(w.problems, *bad)
	case len(documents) == 0:
		w.problems = append(w.problems, record.Problem{File: file, Line: 1, Column: 1, Code: codeMissing,
			Message: "there is no playbook in this text"})
	}
	if problems := tidy(w.problems); len(problems) > 0 {
		return playbooks, problems
	}
	return playbooks, nil
}

// Load compiles the spec that a playbook's Document holds. The error, when there is one, is Problems without places.
func Load(spec record.Document) (*Spec, error) {
	root, err := tree(map[string]any(spec))
	if err != nil {
		return nil, fmt.Errorf("read the spec of a playbook: %w", err)
	}
	w := &walk{}
	if !w.check(root) {
		return nil, tidy(w.problems)
	}
	loaded := w.spec(root)
	if problems := tidy(w.problems); len(problems) > 0 {
		return nil, problems
	}
	return loaded, nil
}

// tidy puts problems in the order of the text, without repetitions and bounded.
func tidy(problems record.Problems) record.Problems {
	slices.SortStableFunc(problems, func(a, b record.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	// What stands behind an anchor is checked wherever it is used, but wrong only once.
	type place struct {
		line, column  int
		path, message string
	}
	seen := map[place]bool{}
	problems = slices.DeleteFunc(problems, func(p record.Problem) bool {
		key := place{p.Line, p.Column, "", p.Message}
		if p.Line == 0 {
			key.path = p.Path
		}
		twice := seen[key]
		seen[key] = true
		return twice
	})
	if len(problems) > maxProblems {
		last := problems[maxProblems]
		last.Path, last.Code = "", codeTooLarge
		last.Message = fmt.Sprintf("and %d more problems", len(problems)-maxProblems)
		problems = append(problems[:maxProblems:maxProblems], last)
	}
	return problems
}

// decode returns data as text, or the reason why it is none.
func decode(data []byte) (string, *record.Problem) {
	if len(data) > record.MaxPlaybookText {
		return "", &record.Problem{Line: 1, Column: 1, Code: codeTooLarge,
			Message: fmt.Sprintf("the text has %d bytes; a file of playbooks may have at most %d", len(data), record.MaxPlaybookText)}
	}
	for _, order := range []string{"\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(data, []byte(order)) {
			return "", &record.Problem{Line: 1, Column: 1, Code: codeEncoding,
				Message: "the text is UTF-16, as its first two bytes say; save it as UTF-8"}
		}
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		message := ""
		switch {
		case r == utf8.RuneError && size == 1:
			message = fmt.Sprintf("the byte 0x%02x is not UTF-8; save the text as UTF-8", text[i])
		case r == 0:
			message = "a NUL character; if the text is UTF-16, save it as UTF-8"
		case !printable(r):
			message = fmt.Sprintf("the control character U+%04X is not allowed; remove it", r)
		}
		if message != "" {
			line, column := newSource(text[:i]).place(i)
			return "", &record.Problem{Line: line, Column: column, Code: codeEncoding, Message: message}
		}
		i += size
	}
	return text, nil
}

// printable tells whether YAML allows a character. See section 5.1 of the YAML 1.2 specification.
func printable(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r', r == 0x85:
		return true
	case r < 0x20, r >= 0x7f && r < 0xa0, r == 0xfffe, r == 0xffff:
		return false
	}
	return true
}

// read returns the documents of a text up to the first thing that is not YAML. Empty documents are left out.
func read(text *source) ([]*yaml.Node, *record.Problem) {
	var documents []*yaml.Node
	problem := scan(text.text, func(document *yaml.Node) {
		if root := document.Content[0]; root.Kind != yaml.ScalarNode || root.Tag != tagNull {
			documents = append(documents, document)
		}
	})
	if problem == "" {
		return documents, nil
	}
	line := text.firstBad(problem)
	content := text.line(line)
	trimmed := strings.TrimLeft(content, " \t")
	column := utf8.RuneCountInString(content[:len(content)-len(trimmed)]) + 1
	if anchor, unknown := strings.CutPrefix(problem, "unknown anchor '"); unknown {
		alias := "*" + strings.TrimSuffix(anchor, "' referenced")
		problem = fmt.Sprintf("%s refers to an anchor that is not defined before it; define &%s first", alias, alias[1:])
		if at := strings.Index(content, alias); at >= 0 {
			column = utf8.RuneCountInString(content[:at]) + 1
		}
	} else if tab := strings.IndexByte(content[:len(content)-len(trimmed)], '\t'); tab >= 0 {
		problem = "a tab cannot indent YAML; use spaces"
		column = utf8.RuneCountInString(content[:tab]) + 1
	} else {
		problem = "this is not YAML: " + problem
	}
	return documents, &record.Problem{Line: line, Column: column, Code: codeYAML, Message: problem}
}

// linePrefix is how yaml.v3 says where. The number is not to be trusted: it may be that of the line before, or of the
// line where the surrounding list or mapping began.
var linePrefix = regexp.MustCompile(`^(?:line \d+: )?`)

// scan gives every document of text to found and returns why it stopped, or "" at the end.
func scan(text string, found func(*yaml.Node)) (problem string) {
	defer func() {
		// The parser panics on a few texts with comments in odd places ("please report"); a text that it cannot
		// read is no reason to end a control plane.
		if failure := recover(); failure != nil {
			problem = fmt.Sprint(failure)
		}
	}()
	decoder := yaml.NewDecoder(strings.NewReader(text))
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
			found(&document)
		}
	}
}

// firstBad is the first line with which the text fails with this problem: the parser reads forward, so what comes later
// cannot matter.
func (s *source) firstBad(problem string) int {
	return 1 + sort.Search(len(s.starts)-1, func(i int) bool {
		return scan(s.text[:s.starts[i+1]], func(*yaml.Node) {}) == problem
	})
}

// tree turns a Document's value into the tree that the parser makes of YAML.
func tree(value any) (*yaml.Node, error) {
	normal, err := record.Normalize(value)
	if err != nil {
		return nil, err
	}
	return treeOf(normal), nil
}

func treeOf(value any) *yaml.Node {
	scalar := func(tag, text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text} }
	switch v := value.(type) {
	case bool:
		return scalar(tagBool, strconv.FormatBool(v))
	case string:
		return scalar(tagString, v)
	case int64:
		return scalar(tagInt, strconv.FormatInt(v, 10))
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if digitsOnly.MatchString(text) {
			text += ".0"
		}
		return scalar(tagFloat, text)
	case []any:
		list := &yaml.Node{Kind: yaml.SequenceNode, Tag: tagList}
		for _, item := range v {
			list.Content = append(list.Content, treeOf(item))
		}
		return list
	case map[string]any:
		object := &yaml.Node{Kind: yaml.MappingNode, Tag: tagMap}
		for _, key := range sortedKeys(v) {
			object.Content = append(object.Content, scalar(tagString, key), treeOf(v[key]))
		}
		return object
	}
	return scalar(tagNull, "")
}
