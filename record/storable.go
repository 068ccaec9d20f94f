package record

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxDepth is how deep a value from outside may be nested. Every store holds more.
	MaxDepth = 64
	// MaxRecord bounds the record of a node in a run, in bytes of JSON.
	MaxRecord = 1 << 20
)

// CheckStorable says why a document from outside cannot be stored: it is nested too deep, is larger than maxBytes (roughly, as JSON), or
// has a NUL, or bytes that are not UTF-8, in a key or a text, or a number that is not finite. BSON has no NUL in keys.
func CheckStorable(d Document, maxBytes int) error {
	size := 0
	return checkStorable(map[string]any(d), "", 1, &size, maxBytes)
}

func checkStorable(value any, at string, depth int, size *int, most int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%s is nested more than %d levels deep", place(at), MaxDepth)
	}
	*size += 8
	switch v := value.(type) {
	case string:
		*size += len(v)
		if err := CheckText(v); err != nil {
			return fmt.Errorf("%s %w", place(at), err)
		}
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s is not a finite number", place(at))
		}
	case map[string]any:
		for key, item := range v {
			*size += len(key)
			if err := CheckText(key); err != nil {
				return fmt.Errorf("a key of %s %w", place(at), err)
			}
			if err := checkStorable(item, at+"."+key, depth+1, size, most); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range v {
			if err := checkStorable(item, fmt.Sprintf("%s[%d]", at, i), depth+1, size, most); err != nil {
				return err
			}
		}
	}
	if *size > most {
		return fmt.Errorf("it is larger than %d bytes", most)
	}
	return nil
}

// Size is about how many bytes a document takes as JSON: 8 for each value, and the lengths of texts.
func Size(d Document) int { return sizeOf(map[string]any(d)) }

func sizeOf(value any) int {
	size := 8
	switch v := value.(type) {
	case string:
		size += len(v)
	case map[string]any:
		for key, item := range v {
			size += len(key) + sizeOf(item)
		}
	case []any:
		for _, item := range v {
			size += sizeOf(item)
		}
	}
	return size
}

const maxPlace = 100 // bytes

func place(at string) string {
	if at = strings.TrimPrefix(at, "."); at == "" {
		return "it"
	}
	if len(at) > maxPlace {
		at = at[:maxPlace] + "…"
	}
	return fmt.Sprintf("%q", at)
}

// CheckText says why a text from outside cannot be stored.
func CheckText(text string) error {
	if strings.ContainsRune(text, 0) {
		return fmt.Errorf("contains a NUL")
	}
	if !utf8.ValidString(text) {
		return fmt.Errorf("is not UTF-8")
	}
	return nil
}

// LastLine is the last line of a command's output that says something, in at most so many bytes: without control characters and the
// sequences of them that colour text.
func LastLine(output string, most int) string {
	lines := strings.FieldsFunc(terminalSequence.ReplaceAllString(output, ""), func(r rune) bool { return r == '\n' || r == '\r' })
	for i := len(lines) - 1; i >= 0; i-- {
		printed := strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(lines[i], "\uFFFD"))
		if words := strings.Fields(printed); len(words) > 0 {
			return CleanText(strings.Join(words, " "), most)
		}
	}
	return ""
}

// terminalSequence is a control sequence of ECMA-48.
var terminalSequence = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]`)

// CleanText is a text from outside as it can be stored: at most so many bytes, and without what cannot be.
func CleanText(text string, most int) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "\uFFFD"), "\uFFFD")
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}
