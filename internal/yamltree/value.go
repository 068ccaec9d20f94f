package yamltree

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

const (
	tagNull   = "!!null"
	tagBool   = "!!bool"
	tagInt    = "!!int"
	tagFloat  = "!!float"
	tagString = "!!str"
	tagTime   = "!!timestamp" // a date without quotes, which is read as a string
	tagMerge  = "!!merge"
)

// Target is n, or what n is an alias of.
func Target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// IsString reports whether n is a string.
func IsString(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == tagString || n.Tag == tagTime)
}

// IsInt reports whether n is an integer.
func IsInt(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == tagInt }

// IsBool reports whether n is true or false.
func IsBool(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == tagBool }

// IsNull reports whether n is null, or no value at all.
func IsNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == tagNull }

// Value is what a tree holds, as a record.Document's value.
func Value(n *yaml.Node) any {
	n = Target(n)
	switch n.Kind {
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = Value(item)
		}
		return list
	case yaml.MappingNode:
		object := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := Target(n.Content[i]).Value; object[key] == nil {
				object[key] = Value(n.Content[i+1])
			}
		}
		return object
	}
	switch n.Tag {
	case tagNull:
		return nil
	case tagBool:
		return strings.EqualFold(n.Value, "true")
	case tagInt:
		whole, _ := strconv.ParseInt(n.Value, 10, 64)
		return whole
	case tagFloat:
		number, _ := strconv.ParseFloat(n.Value, 64)
		return number
	}
	return n.Value
}

// Describe names the type of n, and its value if it is short, for a message.
func Describe(n *yaml.Node) string {
	n = Target(n)
	switch {
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Tag == tagNull:
		return "null"
	case n.Tag == tagBool:
		return "the boolean " + n.Value
	case n.Tag == tagInt, n.Tag == tagFloat:
		return "the number " + n.Value
	}
	return "the string " + Quote(n.Value)
}

// DescribeValue is Describe for a Document's value.
func DescribeValue(value any) string { return Describe(treeOf(value)) }

// treeOf is the tree of a Document's value.
func treeOf(value any) *yaml.Node {
	scalar := func(tag, text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text} }
	switch v := value.(type) {
	case bool:
		return scalar(tagBool, strconv.FormatBool(v))
	case string:
		return scalar(tagString, v)
	case int64:
		return scalar(tagInt, strconv.FormatInt(v, 10))
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if digitsOnly.MatchString(text) {
			text += ".0"
		}
		return scalar(tagFloat, text)
	case []any:
		list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v {
			list.Content = append(list.Content, treeOf(item))
		}
		return list
	case map[string]any:
		object := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			object.Content = append(object.Content, scalar(tagString, key), treeOf(v[key]))
		}
		return object
	}
	return scalar(tagNull, "")
}
