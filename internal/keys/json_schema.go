package keys

import (
	"encoding/json"
	"time"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

// JSONSchema is the schema (draft-07) of a document, for editors and validators.
func JSONSchema(m *Mapping) []byte {
	schema := m.jsonSchema()
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = m.Title
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		panic(err) // of our own tables: a mistake in one of them
	}
	return append(text, '\n')
}

func (m *Mapping) jsonSchema() map[string]any {
	properties := map[string]any{}
	var required []string
	for _, k := range m.Keys {
		property := k.Type.jsonSchema()
		if k.About != "" {
			property["description"] = k.About
		}
		switch value := k.Default.(type) {
		case nil:
		case time.Duration:
			property["default"] = yamltree.FormatDuration(value)
		default:
			property["default"] = value
		}
		if k.Required != "" {
			required = append(required, k.Name)
		}
		properties[k.Name] = property
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if m.About != "" {
		schema["description"] = m.About
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	if m.Ignored != "" {
		schema["patternProperties"] = map[string]any{"^" + m.Ignored: true}
	}
	return schema
}

func (t Text) jsonSchema() map[string]any {
	schema := map[string]any{"type": "string"}
	if t.Most > 0 {
		schema["maxLength"] = t.Most
	}
	if t.Pattern != nil {
		schema["pattern"] = t.Pattern.String()
	}
	return schema
}

func (Bool) jsonSchema() map[string]any { return map[string]any{"type": "boolean"} }

func (t Int) jsonSchema() map[string]any {
	return map[string]any{"type": "integer", "minimum": t.Least, "maximum": t.Most}
}

func (t Amount) jsonSchema() map[string]any {
	percent := `^\s*0*([1-9][0-9]?|100)\s*%\s*$`
	if t.Least == 0 {
		percent = `^\s*0*([0-9]|[1-9][0-9]|100)\s*%\s*$`
	}
	return map[string]any{"anyOf": []any{
		map[string]any{"type": "integer", "minimum": t.Least, "maximum": t.Most},
		map[string]any{"type": "string", "pattern": percent},
	}}
}

// duration is what time.ParseDuration reads.
const duration = `^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`

func (t Duration) jsonSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": duration}
}

func (Time) jsonSchema() map[string]any {
	return map[string]any{"type": "string", "format": "date-time"}
}

func (t Choice) jsonSchema() map[string]any {
	return map[string]any{"type": "string", "enum": []string(t)}
}

func (t List) jsonSchema() map[string]any {
	schema := map[string]any{"type": "array", "items": t.Of.jsonSchema(), "maxItems": t.Most}
	if !t.Empty {
		schema["minItems"] = 1
	}
	return schema
}

func (t Map) jsonSchema() map[string]any {
	schema := map[string]any{"type": "object", "additionalProperties": t.Of.jsonSchema()}
	if t.Names != nil {
		schema["propertyNames"] = map[string]any{"pattern": t.Names.String()}
	}
	if t.Least > 0 {
		schema["minProperties"] = t.Least
	}
	if t.Most > 0 {
		schema["maxProperties"] = t.Most
	}
	return schema
}

func (Any) jsonSchema() map[string]any { return map[string]any{} }

func (t OneOf) jsonSchema() map[string]any {
	alternatives := make([]any, len(t))
	for i, one := range t {
		alternatives[i] = one.jsonSchema()
	}
	return map[string]any{"anyOf": alternatives}
}
