package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/replicante-io/playbooks/internal/keys"
)

// CoreKeys are the keys of the configuration of a replica. None of those that a flag or the environment can give is required.
func CoreKeys() *keys.Mapping {
	return document("replicore.yaml", "The configuration of a replica of the control plane.", defaultCore())
}

// AgentKeys are the keys of the configuration of an agent.
func AgentKeys() *keys.Mapping {
	return document("repliagent.yaml", "The configuration of the agent of a node.", defaultAgent())
}

func document(title, about string, defaults any) *keys.Mapping {
	table := tableOf(reflect.ValueOf(defaults))
	table.Title, table.About = title, about
	return table
}

// patterns are those that the tag of a field names.
var patterns = map[string]*regexp.Regexp{"id": validID, "action": actionName}

func choicesOf(field reflect.StructField) []string { return strings.Fields(field.Tag.Get("choices")) }

// tableOf are the keys of a struct, from the tags by which it is decoded, with its values as defaults.
func tableOf(defaults reflect.Value) *keys.Mapping {
	table := &keys.Mapping{}
	for i := range defaults.NumField() {
		field, value := defaults.Type().Field(i), defaults.Field(i)
		usage := field.Tag.Get("usage")
		key := keys.Key{Name: field.Tag.Get("key"), Type: typeOf(field, value), Required: field.Tag.Get("need")}
		if usage != "" {
			key.About = string(unicode.ToUpper(rune(usage[0]))) + usage[1:] + "."
		}
		switch value.Interface().(type) {
		case time.Duration, string, bool:
			if !value.IsZero() {
				key.Default = value.Interface()
			}
		}
		table.Keys = append(table.Keys, key)
	}
	return table
}

func typeOf(field reflect.StructField, value reflect.Value) keys.Type {
	pattern := patterns[field.Tag.Get("pattern")]
	switch value.Interface().(type) {
	case time.Duration:
		return keys.Duration{}
	case bool:
		return keys.Bool{}
	case []string:
		return keys.List{Of: keys.Text{}, Items: "strings", Most: maxList}
	case string:
		if choices := choicesOf(field); len(choices) > 0 {
			return keys.Choice(choices)
		}
		return keys.Text{Pattern: pattern}
	case map[string]any:
		return keys.Map{Of: keys.Any{}}
	case map[string]Command:
		return keys.Map{Of: tableOf(reflect.ValueOf(Command{})), Names: pattern}
	}
	switch value.Kind() {
	case reflect.Struct:
		return tableOf(value)
	case reflect.Pointer:
		return tableOf(reflect.New(value.Type().Elem()).Elem())
	}
	panic(fmt.Sprintf("the key %s has the type %s: add it", field.Tag.Get("key"), value.Type()))
}
