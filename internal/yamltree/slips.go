package yamltree

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// invisible are characters that look like a space or like nothing.
var invisible = map[rune]string{
	0xa0: "no-break space", 0xad: "soft hyphen", 0x2007: "figure space", 0x200b: "zero-width space", 0x200c: "zero-width non-joiner",
	0x200d: "zero-width joiner", 0x200e: "left-to-right mark", 0x200f: "right-to-left mark", 0x202f: "narrow no-break space",
	0x2060: "word joiner", 0x3000: "ideographic space", 0xfeff: "zero-width no-break space (byte order mark)",
}

// isInvisible tells whether r looks like a space or like nothing, and is not what it looks like.
func isInvisible(r rune) bool { return r > 0x7f && (unicode.IsSpace(r) || unicode.Is(unicode.Cf, r)) }

// nameInvisible names a character for a message.
func nameInvisible(r rune) string {
	if name, ok := invisible[r]; ok {
		return fmt.Sprintf("%s (U+%04X)", name, r)
	}
	return fmt.Sprintf("invisible character (U+%04X)", r)
}

// invisibleHint names the first invisible character of a line, for a problem in that line: the problem may be that it is there.
func (t *text) invisibleHint(line int) string {
	content := t.line(line)
	at := strings.IndexFunc(content, isInvisible)
	if at < 0 {
		return ""
	}
	r, _ := utf8.DecodeRuneInString(content[at:])
	return fmt.Sprintf("; column %d of this line is a %s: replace it with a space, or remove it",
		utf8.RuneCountInString(content[:at])+1, nameInvisible(r))
}

// checkVisible reports invisible characters of a scalar that is written without quotes, where nobody means them: around the text,
// and, in a key, anywhere.
func (c *treeCheck) checkVisible(n *yaml.Node, key bool) {
	if c.text == nil || n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return
	}
	text, first := n.Value, -1
	switch {
	case key:
		first = strings.IndexFunc(text, isInvisible)
	case text != strings.TrimLeftFunc(text, isInvisible):
		first = 0
	case text != strings.TrimRightFunc(text, isInvisible):
		first = len(strings.TrimRightFunc(text, isInvisible))
	}
	if first < 0 {
		return
	}
	r, _ := utf8.DecodeRuneInString(text[first:])
	place := *n
	place.Line, place.Column = c.text.inside(n, utf8.RuneCountInString(text[:first]))
	c.addOnce(Value{node: n}, CodeEncoding, "column %d of this line is a %s: replace it with a space, or remove it; if it is meant, quote the text",
		place.Column, nameInvisible(r))
}

// checkSpaceAfterColon reports {a:1}, which is a key without a value.
func (c *treeCheck) checkSpaceAfterColon(key, value *yaml.Node) {
	colon := strings.IndexByte(key.Value, ':')
	if c.text == nil || c.reported[key] || key.Style != 0 || colon < 1 || !isNull(value) || value.Value != "" {
		return
	}
	c.addOnce(Value{node: key}, CodeYAML, "%s is a key without a value: a space is missing after the colon; if it is meant, quote it",
		Quote(key.Value))
}

var (
	expressionSlip = regexp.MustCompile(`\$\{`)
	templateSlip   = regexp.MustCompile(`\{\{`)
)

const (
	expressionHint = "text that contains ${…} has to be quoted here, as in \"${params.x}\""
	templateHint   = "{{ … }} is not an expression here: write \"${…}\", with the quotes"
)

// failureHints are hints for errors of the parser.
var failureHints = map[string]string{
	"mapping values are not allowed in this context": "; text that contains a colon and a space has to be quoted",
	"found character that cannot start any token":    "; text that begins with @, % or ` has to be quoted, and tabs cannot indent",
}

// invisibleSeparator is an invisible character where a space separates a key from its value, or indents.
var invisibleSeparator = regexp.MustCompile(`(^[ \t]*|: *|- *)[\p{Cf}\x{a0}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]`)

// slip is the hint for a syntax error near a line, and its column there: for what people write who know other tools. The
// parser may notice it in the line after it.
func (t *text) slip(line int) (at, column int, hint string) {
	for _, at := range []int{line, line - 1, line + 1} {
		content := unquoted(t.line(at))
		if found := invisibleSeparator.FindStringIndex(content); found != nil {
			r, size := utf8.DecodeLastRuneInString(content[:found[1]])
			return at, utf8.RuneCountInString(content[:found[1]-size]) + 1, "a " + nameInvisible(r) + " is not a space in YAML: replace it with one"
		}
		for _, known := range []struct {
			pattern *regexp.Regexp
			hint    string
		}{{expressionSlip, expressionHint}, {templateSlip, templateHint}} {
			if found := known.pattern.FindStringIndex(content); found != nil {
				return at, utf8.RuneCountInString(content[:found[0]]) + 1, known.hint
			}
		}
	}
	return line, 0, ""
}

// unquoted is a line in which quoted text and comments are blanks, as long as quotes do not span lines.
func unquoted(line string) string {
	out, quote := []byte(line), byte(0)
	for i := 0; i < len(out); i++ {
		c := out[i]
		switch {
		case quote == 0 && (c == '"' || c == '\'') && (i == 0 || strings.IndexByte(" \t[{,:", line[i-1]) >= 0):
			quote = c
		case quote == 0 && c == '#' && (i == 0 || line[i-1] == ' '):
			return string(out[:i])
		case quote == 0:
			continue
		case c == '\\' && quote == '"' && i+1 < len(out):
			out[i+1] = ' '
		case c == quote:
			quote = 0
		}
		out[i] = ' '
	}
	return string(out)
}

var versionDirective = regexp.MustCompile(`^%YAML[ \t]+1\.[0-9]+[ \t]*(#.*)?$`)

// withoutDirective is a text whose directives for a version of YAML 1 are comments: the parser knows only 1.1, and reads all alike.
func withoutDirective(content string) string {
	if !strings.Contains(content, "%YAML") {
		return content
	}
	lines := strings.SplitAfter(content, "\n")
	directives := true // they may come at the beginning, and after the end of a document
	for i, line := range lines {
		bare := strings.TrimRight(line, "\r\n")
		switch {
		case directives && versionDirective.MatchString(bare):
			lines[i] = "#" + line[1:]
		case strings.TrimSpace(bare) == "..." && strings.HasPrefix(bare, "..."):
			directives = true
		case strings.TrimSpace(bare) != "" && !strings.HasPrefix(bare, "#") && !strings.HasPrefix(bare, "%"):
			directives = false
		}
	}
	return strings.Join(lines, "")
}

// templateHint is the hint for a key that is a mapping because it is the inner part of {{ … }}.
func (c *treeCheck) templateHint(key *yaml.Node) string {
	if c.text == nil || !templateSlip.MatchString(unquoted(c.text.line(key.Line))) {
		return ""
	}
	return "; " + templateHint
}
