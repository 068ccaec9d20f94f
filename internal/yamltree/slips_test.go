package yamltree_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

func TestCommonSlipsAreNamedWithTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"a: {b: ${params.n}}\n":                    "1:8 has to be quoted here",
		"a: [1, ${params.n}]\n":                    "1:8 has to be quoted here",
		"a: {\n  b: ${params.n},\n  c: 1}\nd: e\n": "2:6 has to be quoted here",
		"a: ${x ? {\"b\": 1} : {}}\n":              "1:4 has to be quoted here",
		"a: {b: {{ params.n }}}\n":                 "1:9 {{ … }} is not an expression",
		"a: {{ params.n }}\n":                      "1:5 {{ … }} is not an expression",
		"a: {b:1}\n":                               "1:5 a space is missing after the colon",
		"a: b == \"c\": d\n":                       "1:1 has to be quoted",
		"a: @b\n":                                  "1:1 has to be quoted",
		"a:\n\tb: c\n":                             "2:1 tabs",
		"a:\u00a0b\nc: d\n":                        "1:3 a no-break space (U+00A0) is not a space",
		"a:\n  \u00a0b: c\n":                       "2:3 column 3 of this line is a no-break space (U+00A0)",
		"a: b\u200b\n":                             "1:4 column 5 of this line is a zero-width space (U+200B)",
		"a: {b: \u200bc}\n":                        "1:8 column 8 of this line is a zero-width space (U+200B)",
		"na\u200bme: c\n":                          "1:1 column 3 of this line is a zero-width space (U+200B)",
		"a: b\n\ufeffc: d\n":                       "2:1 byte order mark",
	} {
		reader, _ := yamltree.Parse("x.yaml", []byte(text), 1000)
		found := ""
		for _, p := range reader.Problems() {
			found += fmt.Sprintf("%d:%d %s\n", p.Line, p.Column, p.Message)
		}
		place, message, _ := strings.Cut(want, " ")
		if !strings.Contains(found, message) || !strings.Contains("\n"+found, "\n"+place+" ") {
			t.Errorf("%q: got %q, wanted %q", text, found, want)
		}
	}
}

func TestWhatOnlyLooksLikeASlipIsAccepted(t *testing.T) {
	for _, text := range []string{
		"%YAML 1.2\n---\na: b\n", "# first\n%YAML 1.1 # old\n---\na: b\n...\n%YAML 1.2\n---\nc: d\n",
		"a: ${params.n}\n", "a: \"{b: ${params.n}} # {{ x }}\"\n", "a: {b: '${x}'}\n", "a: b # ${x} {{ y }}\n",
		"a: |\n  %YAML 1.2\n  \u00a0text\u200b\n", "a: x\u00a0y\n", "a: \"\u200b\"\n", "\"b:1\":\n", "{\"a:1\": ~}\n", "a:\tb\n",
	} {
		reader, roots := yamltree.Parse("x.yaml", []byte(text), 1000)
		if len(reader.Problems()) > 0 || len(roots) == 0 {
			t.Errorf("%q: %v", text, reader.Problems())
		}
	}
	_, roots := yamltree.Parse("x.yaml", []byte("a: |\n  x\n  %YAML 1.2\n"), 1000)
	if got := fmt.Sprint(roots[0].Decode()); !strings.Contains(got, "%YAML 1.2") {
		t.Errorf("the text is changed: %q", got)
	}
	reader, _ := yamltree.Parse("x.yaml", []byte("%YAML 2.0\n---\na: b\n"), 1000)
	if len(reader.Problems()) == 0 {
		t.Error("another version of YAML is accepted")
	}
}
