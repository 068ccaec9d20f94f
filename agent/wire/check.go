package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

const (
	// MaxDepth is how deep the lists and objects of arguments, payloads and attributes may be nested.
	MaxDepth = 64
	// MaxPayload bounds a payload, in bytes.
	MaxPayload = 64 << 10
)

// CheckJSON reports why a JSON value cannot be stored: it is nested deeper than MaxDepth, a key or a text contains NUL, or a
// number is too large. nil means that it can be.
func CheckJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return errors.New("it is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	depth := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is not valid JSON: %w", err)
		}
		switch t := token.(type) {
		case json.Delim:
			if t == '}' || t == ']' {
				depth--
			} else if depth++; depth > MaxDepth {
				return fmt.Errorf("it is nested more than %d levels deep", MaxDepth)
			}
		case string:
			if strings.IndexByte(t, 0) >= 0 {
				return fmt.Errorf("the text %q contains a NUL character", short(t))
			}
		case json.Number:
			if n, err := t.Float64(); err != nil || math.IsInf(n, 0) {
				return fmt.Errorf("the number %s is too large", short(t.String()))
			}
		}
	}
}

func short(text string) string {
	const most = 40
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
