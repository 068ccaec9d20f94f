package main

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// escaped is text without what could move a terminal's cursor or hide or turn its text: such characters are written as in Go, \x1b
// for example.
func escaped(text string) string {
	if !strings.ContainsFunc(text, notPrinted) && utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			out.WriteString(`\x` + strconv.FormatUint(uint64(text[0]), 16))
		case notPrinted(r):
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		default:
			out.WriteRune(r)
		}
		text = text[size:]
	}
	return out.String()
}

func notPrinted(r rune) bool { return !unicode.IsPrint(r) }

// escapedLines is text whose lines are escaped.
func escapedLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = escaped(lines[i])
	}
	return strings.Join(lines, "\n")
}

// cut makes text one line that takes at most width columns of a terminal.
func cut(text string, width int) string {
	text = escaped(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, text))
	if runewidth.StringWidth(text) <= width {
		return strings.TrimRight(text, " ")
	}
	return runewidth.Truncate(text, max(width, 0), "…")
}

// wrap makes text lines that take at most width columns of a terminal, broken between words; at most so many, 0 for as many as there
// are. Those after the first are indented more.
func wrap(text string, width, most int) []string {
	text = oneLine(text)
	if runewidth.StringWidth(text) <= width {
		return []string{text}
	}
	indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
	line, lines := indent, []string{}
	words := strings.Fields(text)
	for i, word := range words {
		longer := line + word
		if i > 0 {
			longer = strings.TrimRight(line, " ") + " " + word
		}
		switch {
		case i == 0 || runewidth.StringWidth(longer) <= width:
			line = longer
		case most > 0 && len(lines) >= most-1:
			return append(lines, cut(line+" "+strings.Join(words[i:], " "), width))
		default:
			lines = append(lines, line)
			line = indent + "  " + word
		}
		for most == 0 && runewidth.StringWidth(line) > width && len(indent)+3 < width { // a word that is longer than a line
			first := runewidth.Truncate(line, width, "")
			lines = append(lines, first)
			line = indent + "  " + line[len(first):]
		}
		line = bounded(line, width, most)
	}
	return append(lines, line)
}

// bounded is a line that is cut where the number of lines is bounded.
func bounded(line string, width, most int) string {
	if most == 0 {
		return line
	}
	return cut(line, width)
}

// oneLine is text as one line of any width.
func oneLine(text string) string { return cut(text, 6*len(text)) }

// rows are lines of columns, which are aligned by what they take on a terminal. Cells may contain any text.
func rows(lines [][]string) string {
	var widths []int
	for _, cells := range lines {
		for i := range cells {
			cells[i] = escaped(cells[i])
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], runewidth.StringWidth(cells[i]))
		}
	}
	var out strings.Builder
	for _, cells := range lines {
		line := ""
		for i, cell := range cells {
			line += cell
			if i < len(cells)-1 {
				line += strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell)+2)
			}
		}
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return out.String()
}

// escapedColumns is text whose columns, between tabs, are escaped.
func escapedColumns(text string) string {
	columns := strings.Split(text, "\t")
	for i := range columns {
		columns[i] = escaped(columns[i])
	}
	return strings.Join(columns, "\t")
}
