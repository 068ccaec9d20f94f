package jsonkeys_test

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/jsonkeys"
)

func TestAKeyThatIsGivenTwiceIsNamedByItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "", `[]`: "", `1`: "", ``: "", `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`: "", `{"a":1,"A":2}`: "",
		`{"a":1,"a":2}`: `"a"`, `{"a":[],"b":{},"a":{}}`: `"a"`, `{"a":1,"\u0061":2}`: `"a"`, `{"":1,"":2}`: `""`,
		`{"shards":[{"id":"x"},{"id":"y","lag":{"value":99999,"value":1}}]}`: `"shards[1].lag.value"`,
		`[[1,2],[{"a":1,"a":2}]]`:               `"[1][0].a"`,
		`{"a":"a","b":"b","c":{"a":"c","a":1}}`: `"c.a"`,
		`{"a":1,"a":`:                           `"a"`,
		`{"a":1,`:                               "", `}`: "", `{1:2}`: "", // mistakes of the syntax
		`{"a":1} {"a":2}`: "",
		`{"` + strings.Repeat("x", 1000) + `":{"n":1,"n":2}}`: `x.n"`,
	} {
		err := jsonkeys.Check([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasSuffix(err.Error(), want+" is given twice") || len(err.Error()) > 200) {
			t.Errorf("%.80s: %v, want %s", text, err, want)
		}
	}
}

func TestDeepNestingCostsNoStack(t *testing.T) {
	text := strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000)
	if err := jsonkeys.Check([]byte(text)); err != nil {
		t.Error(err)
	}
}
