package agent

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/replicante-io/playbooks/agent/wire"
)

// tail is a writer that keeps the last wire.TailBytes bytes.
type tail struct {
	kept []byte
	cut  bool
}

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if n > wire.TailBytes {
		p = p[n-wire.TailBytes:]
		t.kept, t.cut = t.kept[:0], true
	}
	if over := len(t.kept) + len(p) - wire.TailBytes; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
		t.cut = true
	}
	t.kept = append(t.kept, p...)
	return n, nil
}

// String is valid UTF-8 without NUL of at most wire.TailBytes bytes.
func (t *tail) String() string {
	kept := t.kept
	for t.cut && len(kept) > 0 && !utf8.RuneStart(kept[0]) {
		kept = kept[1:]
	}
	text := strings.ReplaceAll(strings.ToValidUTF8(string(kept), "\uFFFD"), "\x00", "\uFFFD")
	if over := len(text) - wire.TailBytes; over > 0 {
		for over < len(text) && !utf8.RuneStart(text[over]) {
			over++
		}
		text = text[over:]
	}
	return text
}

// maxLastLine is how many characters of a line lastLine keeps.
const maxLastLine = 200

// lastLine is the last line of text that is not empty, for the log: cut at its end, and without what is not printable.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r", "\n")), "\n")
	line := []rune(strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, lines[len(lines)-1])))
	if len(line) > maxLastLine {
		return string(line[:maxLastLine]) + "…"
	}
	return string(line)
}
