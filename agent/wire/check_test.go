package wire_test

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/agent/wire"
)

func TestWhatCannotBeStoredIsReported(t *testing.T) {
	nested := func(levels int) string { return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels) }
	for value, want := range map[string]string{
		`{"a":[1,-2.5,1e300,"ä",null,true]}`: "",
		nested(64):                           "",
		nested(65):                           "more than 64 levels",
		strings.Repeat("[", 65):              "more than 64 levels",
		"{\"a\\u0000b\":1}":                  "NUL",
		"{\"a\":[\"\\u0000\"]}":              "NUL",
		`{"a":1e999}`:                        "too large",
		"{\"a\":\"\xff\"}":                   "not UTF-8",
	} {
		err := wire.CheckJSON([]byte(value))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.80s: %v, want %q", value, err, want)
		}
	}
}
