package main

import (
	"fmt"
	"io"
	"strings"
)

// live draws a picture over the one that it drew before.
type live struct {
	out   io.Writer
	size  func() (columns, lines int)
	drawn int // lines of the last picture
}

func (l *live) draw(lines func(width int) []string) {
	width, height := l.size()
	picture := lines(width)
	if room := max(height-1, 3); len(picture) > room {
		picture = append(picture[:room-1:room-1], "…")
	}
	var text strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", l.drawn)
	}
	for _, line := range picture {
		text.WriteString("\r" + line + "\x1b[K\n")
	}
	text.WriteString("\x1b[J")
	l.drawn = len(picture)
	_, _ = io.WriteString(l.out, text.String())
}
