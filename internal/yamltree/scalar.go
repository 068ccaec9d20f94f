package yamltree

import (
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// scalarReader reads the text of one scalar.
type scalarReader struct {
	content string
	at      int
	style   yaml.Style
	indent  int // of a block scalar
	breaks  int // folded line breaks that the value still has to match
}

func (r *scalarReader) rest() string { return r.content[min(r.at, len(r.content)):] }

// begin moves to the first character of the content.
func (r *scalarReader) begin() bool {
	for strings.HasPrefix(r.rest(), "&") || strings.HasPrefix(r.rest(), "!") { // anchors and tags come before it
		r.at += len(r.rest()) - len(strings.TrimLeftFunc(r.rest(), func(c rune) bool { return !strings.ContainsRune(" \t\r\n", c) }))
		r.at += len(r.rest()) - len(strings.TrimLeft(r.rest(), " \t\r\n"))
	}
	switch {
	case r.style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		r.at++
	case r.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		end := strings.IndexByte(r.rest(), '\n')
		if end < 0 {
			return false
		}
		if header, _, _ := strings.Cut(r.rest()[:end], "#"); strings.ContainsAny(header, "123456789") {
			return false // an explicit indentation: too rare to follow
		}
		r.at += end + 1
		content := strings.TrimLeft(r.rest(), "\r\n ")
		before := r.rest()[:len(r.rest())-len(content)]
		r.indent = len(before) - strings.LastIndexAny(before, "\r\n") - 1
		r.skipIndent()
	}
	return true
}

func (r *scalarReader) skipIndent() {
	for i := 0; i < r.indent && strings.HasPrefix(r.rest(), " "); i++ {
		r.at++
	}
}

// next moves past the text of the value's character c. It returns false if the text is that of another character.
func (r *scalarReader) next(c rune) bool {
	if r.breaks > 0 {
		r.breaks--
		return c == '\n'
	}
	rest := r.rest()
	if r.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		size := lineBreak(rest)
		switch {
		case size > 0 && r.style&yaml.FoldedStyle != 0:
			return r.fold(c)
		case size > 0:
			r.at += size
			r.skipIndent()
			return c == '\n'
		}
		return r.verbatim(c)
	}
	if folded := len(rest) - len(strings.TrimLeft(rest, " \t")); lineBreak(rest[folded:]) > 0 {
		return r.fold(c)
	}
	switch {
	case r.style&yaml.SingleQuotedStyle != 0 && c == '\'':
		r.at += 2
		return strings.HasPrefix(rest, "''")
	case r.style&yaml.DoubleQuotedStyle != 0 && strings.HasPrefix(rest, `\`):
		return r.escape(c)
	}
	return r.verbatim(c)
}

func (r *scalarReader) verbatim(c rune) bool {
	found, size := utf8.DecodeRuneInString(r.rest())
	r.at += size
	return found == c
}

// fold moves past line breaks and the blanks around them: one break is a space, and n breaks are n-1 line breaks.
func (r *scalarReader) fold(c rune) bool {
	breaks := 0
	for {
		rest := r.rest()
		if size := lineBreak(rest); size > 0 {
			breaks++
			r.at += size
		} else if strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "\t") {
			r.at++
		} else {
			break
		}
	}
	if breaks == 1 {
		return c == ' '
	}
	r.breaks = breaks - 2
	return c == '\n'
}

// escape moves past an escape of a double-quoted scalar.
func (r *scalarReader) escape(c rune) bool {
	rest := r.rest()
	if len(rest) < 2 {
		return false
	}
	if size := lineBreak(rest[1:]); size > 0 { // an escaped line break, which is not part of the value
		r.at += 1 + size
		r.at += len(r.rest()) - len(strings.TrimLeft(r.rest(), " \t"))
		return r.next(c)
	}
	_, size := utf8.DecodeRuneInString(rest[1:])
	r.at += 1 + size + map[byte]int{'x': 2, 'u': 4, 'U': 8}[rest[1]]
	return true
}
