package api

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestABodyThatCannotBeStoredAsItIsIsNamedWithItsPlace(t *testing.T) {
	nested := func(levels int) string { return strings.Repeat(`{"d":`, levels) + "1" + strings.Repeat("}", levels) }
	for body, want := range map[string]string{
		`{"a":[1,-9223372036854775808,9223372036854775807,1e308,0.1,"\ud83d\ude00 \\ud800 \u00e9",null,true,{}]}`: "",
		`{"params":` + nested(64) + `}`: "",
		`{"params":` + nested(65) + `}`: "body.params.d.d.d",
		strings.Repeat("[", 3<<20):      "nested more than 64 levels deep",
		`{"a":[{"b":"x\u0000"}]}`:       "body.a[0].b contains a NUL",
		`{"a":{"\u0000":1}}`:            "a key of body.a contains a NUL",
		`{"a":["\ud800"]}`:              "body.a[0] has half of a surrogate pair",
		`{"a":"\ude00\ud83d"}`:          "body.a has half",
		`{"a":"\ud83dx\ude00"}`:         "body.a has half",
		`{"a":"\ud83d\n\ude00"}`:        "body.a has half",
		`{"\udfff":1}`:                  "a key of body has half",
		"{\"a\":\"x\xff\"}":             "not UTF-8: see byte 7",
		"{\"a\":\"\uFFFD\"}":            "",
		`{"a":9223372036854775808}`:     "body.a: 9223372036854775808 is too large for an integer (64 bits)",
		`{"a":-9223372036854775809}`:    "body.a: -9223372036854775809 is too large",
		`{"a":1e400}`:                   "body.a: 1e400 is too large for a number",
		`{"a":`:                         "", // a mistake of the syntax: the decoder names it
		`{"a":1,}`:                      "",
		`{"a" 1 "b"}`:                   "",
		`[1 2]`:                         "",
		"":                              "",
	} {
		failure := checkBody(httptest.NewRequest("POST", "/api/v1/runs", nil), []byte(body))
		switch {
		case want == "" && failure != nil:
			t.Errorf("%.60q: %s", body, failure.Detail)
		case want != "" && (failure == nil || failure.Status != 400 || !strings.Contains(failure.Detail, want) || len(failure.Detail) > 300):
			t.Errorf("%.60q: %+v, want %q", body, failure, want)
		}
	}
}

func FuzzBodiesAreCheckedToTheirEnd(f *testing.F) {
	f.Add(`{"a":[1,{"b":"\ud83d\ude00"}]}`)
	f.Add(`{"a":1,]`)
	f.Fuzz(func(t *testing.T, body string) {
		if failure := checkBody(httptest.NewRequest("POST", "/api/v1/runs", nil), []byte(body)); failure != nil && failure.Status != 400 {
			t.Errorf("%+v", failure)
		}
	})
}
