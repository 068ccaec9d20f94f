package api

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/replicante-io/playbooks/internal/jsonkeys"
	"github.com/replicante-io/playbooks/record"
)

const (
	// maxReason bounds what an operator says, in bytes; maxParams the values of a run's params.
	maxReason = 4 << 10
	maxParams = 1 << 20
	// maxBodyDepth leaves the values in a body as many levels as values have anywhere.
	maxBodyDepth = record.MaxDepth + 1
)

// checkBody reports what in a JSON body could not be stored, or would be stored as something else, by its place. Playbooks
// are left to their reader, and a mistake of the syntax to the decoder.
func checkBody(r *http.Request, body []byte) *Failure {
	if isUpload(r) {
		return nil
	}
	if !utf8.Valid(body) {
		return fail(http.StatusBadRequest, "bad_request", fmt.Sprintf("the request's body is not UTF-8: see byte %d", len(validStart(body))))
	}
	w := &bodyWalk{body: body, decoder: json.NewDecoder(bytes.NewReader(body))}
	w.decoder.UseNumber()
	if reason := w.value("body", 1); reason != "" {
		return fail(http.StatusBadRequest, "bad_request", reason)
	}
	if err := jsonkeys.Check(body); err != nil {
		return fail(http.StatusBadRequest, "bad_request", "the request's body is not valid: "+err.Error())
	}
	return nil
}

// validStart is the beginning of a text up to the first byte that is not UTF-8.
func validStart(text []byte) []byte {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return text[:at]
		}
		at += size
	}
	return text
}

// bodyWalk reads a body token by token.
type bodyWalk struct {
	body    []byte
	decoder *json.Decoder
}

// token is the next token and its text; nil at a mistake of the syntax, which the decoder of the body reports.
func (w *bodyWalk) token() (json.Token, []byte) {
	start := w.decoder.InputOffset()
	token, err := w.decoder.Token()
	if err != nil {
		return nil, nil
	}
	return token, w.body[start:w.decoder.InputOffset()]
}

// value reads a value, and returns what is wrong in it.
func (w *bodyWalk) value(place string, depth int) string {
	token, raw := w.token()
	switch t := token.(type) {
	case string:
		return badText(place, t, raw)
	case json.Number:
		return badNumber(place, t)
	case json.Delim:
		if depth > maxBodyDepth {
			return fmt.Sprintf("%s is nested more than %d levels deep", shorten(place), record.MaxDepth)
		}
		for i := 0; w.decoder.More(); i++ {
			inner := fmt.Sprintf("%s[%d]", place, i)
			if t == '{' {
				key, raw := w.token()
				name, _ := key.(string)
				if reason := badText("a key of "+shorten(place), name, raw); reason != "" {
					return reason
				}
				inner = place + "." + name
			}
			before := w.decoder.InputOffset()
			if reason := w.value(inner, depth+1); reason != "" {
				return reason
			}
			if w.decoder.InputOffset() == before {
				return ""
			}
		}
		w.token()
	}
	return ""
}

// badText is what is wrong with a text, which raw is as JSON.
func badText(place, text string, raw []byte) string {
	if err := record.CheckText(text); err != nil {
		return shorten(place) + " " + err.Error()
	}
	if halfSurrogate(raw) {
		return shorten(place) + ` has half of a surrogate pair, such as \ud800, which is no character`
	}
	return ""
}

// halfSurrogate reports whether a text in JSON has an escaped half of a surrogate pair: the decoder would put another character there.
func halfSurrogate(raw []byte) bool {
	var high bool
	for i := 0; i < len(raw); i++ {
		unit := rune(0)
		if raw[i] == '\\' {
			if i++; i < len(raw) && raw[i] == 'u' && i+4 < len(raw) {
				var code [2]byte
				if _, err := hex.Decode(code[:], raw[i+1:i+5]); err == nil {
					unit = rune(code[0])<<8 | rune(code[1])
				}
				i += 4
			}
		}
		switch {
		case high && utf16.IsSurrogate(unit) && unit >= 0xdc00:
			high = false
		case high, utf16.IsSurrogate(unit) && unit >= 0xdc00:
			return true
		default:
			high = utf16.IsSurrogate(unit)
		}
	}
	return high
}

var wholeNumber = regexp.MustCompile(`^-?[0-9]+$`)

func badNumber(place string, number json.Number) string {
	text := shorten(number.String())
	if _, err := number.Float64(); err != nil {
		return shorten(place) + ": " + text + " is too large for a number"
	}
	if _, err := strconv.ParseInt(number.String(), 10, 64); err != nil && wholeNumber.MatchString(number.String()) {
		return shorten(place) + ": " + text + " is too large for an integer (64 bits); quote it if it is a text"
	}
	return ""
}

// checkReason rejects a reason that is too long.
func checkReason(reason string) error {
	if len(reason) > maxReason {
		return fail(http.StatusBadRequest, "bad_request", fmt.Sprintf("body.reason must be at most %d bytes", maxReason))
	}
	return nil
}
