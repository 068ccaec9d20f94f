package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Document is a JSON object held generically: a playbook's spec as written, a run's params, an action's arguments.
// Its values are nil, bool, string, int64, float64, []any and map[string]any, whether it was read from YAML, JSON or
// BSON, so that a whole number stays a whole number wherever it was kept.
type Document map[string]any

// UnmarshalJSON reads an object and keeps whole numbers as int64.
func (d *Document) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var raw map[string]any
	if err := decoder.Decode(&raw); err != nil {
		return err
	}
	normal, err := Normalize(raw)
	if err != nil {
		return err
	}
	*d, _ = normal.(map[string]any)
	return nil
}

// MarshalJSON writes an object, its keys in order, so that UnmarshalJSON reads the same values again: a float64 that is a
// whole number is written as 2.0, not 2.
func (d Document) MarshalJSON() ([]byte, error) {
	if d == nil {
		return []byte("null"), nil
	}
	return appendJSON(nil, map[string]any(d))
}

func appendJSON(to []byte, value any) ([]byte, error) {
	var err error
	switch v := value.(type) {
	case string:
		return appendString(to, v)
	case int64:
		return strconv.AppendInt(to, v, 10), nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e21 {
			return append(strconv.AppendFloat(to, v, 'f', -1, 64), ".0"...), nil
		}
	case []any:
		to = append(to, '[')
		for i, item := range v {
			if i > 0 {
				to = append(to, ',')
			}
			if to, err = appendJSON(to, item); err != nil {
				return nil, err
			}
		}
		return append(to, ']'), nil
	case map[string]any:
		if v == nil {
			return append(to, "null"...), nil
		}
		to = append(to, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				to = append(to, ',')
			}
			if to, err = appendString(to, key); err != nil {
				return nil, err
			}
			if to, err = appendJSON(append(to, ':'), v[key]); err != nil {
				return nil, err
			}
		}
		return append(to, '}'), nil
	}
	text, err := json.Marshal(value)
	return append(to, text...), err
}

func appendString(to []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, err := json.Marshal(s)
			return append(to, text...), err
		}
	}
	to = append(append(to, '"'), s...)
	return append(to, '"'), nil
}

// Normalize returns value with every number as int64 or float64 and every list and object as []any and map[string]any.
// It does not change value. A value that JSON cannot hold is an error.
func Normalize(value any) (any, error) {
	switch v := value.(type) {
	case nil, bool, string, int64:
		return v, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%v is not a JSON number", v)
		}
		return v, nil
	case int:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case uint64:
		if v > math.MaxInt64 {
			return float64(v), nil
		}
		return int64(v), nil
	case json.Number:
		if whole, err := v.Int64(); err == nil {
			return whole, nil
		}
		return v.Float64()
	case Document:
		return Normalize(map[string]any(v))
	case map[string]any:
		if v == nil {
			return nil, nil
		}
		object := make(map[string]any, len(v))
		for key, item := range v {
			normal, err := Normalize(item)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			object[key] = normal
		}
		return object, nil
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			normal, err := Normalize(item)
			if err != nil {
				return nil, fmt.Errorf("[%d]: %w", i, err)
			}
			list[i] = normal
		}
		return list, nil
	}
	return nil, fmt.Errorf("a %T is not a JSON value", value)
}
