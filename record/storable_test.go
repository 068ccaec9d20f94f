package record_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/replicante-io/playbooks/record"
)

func TestWhatCannotBeStoredIsNamed(t *testing.T) {
	deep := map[string]any{}
	for range 80 {
		deep = map[string]any{"d": deep}
	}
	for want, document := range map[string]record.Document{
		"":                           {"a": []any{"x", int64(1), nil, true, map[string]any{"b": 0.5}}},
		"more than 64 levels deep":   {"x": deep},
		`a key of it contains a NUL`: {"a\x00b": int64(1)},
		`"a.b[1]" contains a NUL`:    {"a": map[string]any{"b": []any{"x", "y\x00"}}},
		`"t" is not UTF-8`:           {"t": "\xff"},
		"larger than 1000 bytes":     {"t": strings.Repeat("x", 2000)},
	} {
		err := record.CheckStorable(document, 1000)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestCleanTextIsStorableAndBounded(t *testing.T) {
	for _, text := range []string{"", "plain", "a\x00b", "\xff\xfe", strings.Repeat("é", 100)} {
		clean := record.CleanText(text, 51)
		if record.CheckText(clean) != nil || len(clean) > 51+len("…") || !utf8.ValidString(clean) {
			t.Errorf("%q became %q", text, clean)
		}
	}
}

func TestTheLastLineOfAnOutputIsTheOneThatSaysSomething(t *testing.T) {
	for output, want := range map[string]string{
		"":                                       "",
		"\n \r\n\t\n":                            "",
		"starting\nredis: cannot stop\n\n":       "redis: cannot stop",
		"10%\r50%\rno space left":                "no space left",
		"\x1b[31;1merror:\x1b[0m\tbad\x00 key\n": "error: bad key",
		"\x1b]0;title\x07done":                   "]0;title done",
		"raw \xff bytes":                         "raw \uFFFD bytes",
		"a line that is too long for a record":   "a line that is too l…",
	} {
		if got := record.LastLine(output, 20); got != want {
			t.Errorf("%q: %q, wanted %q", output, got, want)
		}
	}
}
