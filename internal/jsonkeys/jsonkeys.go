// Package jsonkeys finds keys that a JSON object has twice. Decoders take the last of them, silently: what was meant is not known.
package jsonkeys

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// maxName bounds, in bytes, what an error quotes.
const maxName = 120

// level is an object or a list that the walk is in.
type level struct {
	keys  map[string]bool // of an object, those seen; nil in a list
	name  string          // of an object, the key of the value that is read
	index int             // of a list, the place of the value that is read
	value bool            // of an object: the next token is a value
}

// Check reports the first key that an object within a JSON text has twice. A mistake of the syntax is left to the decoder of the text.
func Check(raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var levels []level
	for {
		token, err := decoder.Token()
		if err != nil {
			return nil
		}
		if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if len(levels) > 0 {
			in := &levels[len(levels)-1]
			switch {
			case in.keys == nil:
				in.index++
			case in.value:
				in.value = false
			default:
				in.name, _ = token.(string)
				if in.keys[in.name] {
					return fmt.Errorf("the key %s is given twice", place(levels))
				}
				in.keys[in.name], in.value = true, true
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{keys: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{index: -1})
		}
	}
}

// place is where the walk is, such as "shards[0].lag.value".
func place(levels []level) string {
	var path strings.Builder
	for i, in := range levels {
		if in.keys == nil {
			path.WriteString("[" + strconv.Itoa(in.index) + "]")
			continue
		}
		if i > 0 {
			path.WriteByte('.')
		}
		path.WriteString(in.name)
	}
	text := path.String()
	if len(text) > maxName {
		text = "…" + strings.ToValidUTF8(text[len(text)-maxName:], "") // the key is at the end
	}
	return strconv.Quote(text)
}
