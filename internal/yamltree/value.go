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

// Value is a value in a tree, with its path, such as spec.stages[0].name. One that is not given has only a path.
type Value struct {
	node *yaml.Node
	path string
}

// At is v under another path.
func (v Value) At(path string) Value { return Value{v.node, path} }

// Path is the path of v.
func (v Value) Path() string { return v.path }

// Line is the line of v, counted from 1, or 0 if v was not read from text.
func (v Value) Line() int { return v.node.Line }

// Column is the column of v, counted from 1 in characters, or 0 if v was not read from text.
func (v Value) Column() int { return v.node.Column }

// Given reports whether there is a value.
func (v Value) Given() bool { return v.node != nil }

// IsMapping reports whether v is a mapping.
func (v Value) IsMapping() bool { return v.Given() && v.node.Kind == yaml.MappingNode }

// IsList reports whether v is a list.
func (v Value) IsList() bool { return v.Given() && v.node.Kind == yaml.SequenceNode }

// IsString reports whether v is a string.
func (v Value) IsString() bool { return v.Given() && isString(v.node) }

// IsInt reports whether v is an integer.
func (v Value) IsInt() bool { return v.isScalar() && v.node.Tag == tagInt }

// IsBool reports whether v is true or false.
func (v Value) IsBool() bool { return v.isScalar() && v.node.Tag == tagBool }

func (v Value) isScalar() bool { return v.Given() && v.node.Kind == yaml.ScalarNode }

func (v Value) isNull() bool { return v.Given() && isNull(v.node) }

// Text is the text of a scalar.
func (v Value) Text() string { return v.node.Value }

// Items are the items of a list. Anything else has none.
func (v Value) Items() []Value {
	if !v.IsList() {
		return nil
	}
	items := make([]Value, len(v.node.Content))
	for i, item := range v.node.Content {
		items[i] = Value{target(item), v.path + "[" + strconv.Itoa(i) + "]"}
	}
	return items
}

// Child is the value of a key, without any checks. Only a mapping has children.
func (v Value) Child(key string) Value {
	child := Value{path: join(v.path, key)}
	if v.IsMapping() {
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			if v.node.Content[i].Value == key {
				child.node = target(v.node.Content[i+1])
				break
			}
		}
	}
	return child
}

// join is the path of a key of the mapping at path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// target is n, or what n is an alias of.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isString(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == tagString || n.Tag == tagTime)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == tagNull }

// Decode is v as a value of a record.Document.
func (v Value) Decode() any { return decodeNode(v.node) }

func decodeNode(n *yaml.Node) any {
	n = target(n)
	switch n.Kind {
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = decodeNode(item)
		}
		return list
	case yaml.MappingNode:
		object := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := target(n.Content[i]).Value; object[key] == nil {
				object[key] = decodeNode(n.Content[i+1])
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

// Describe names the type of v, and its value if it is short, for a message.
func (v Value) Describe() string { return describe(v.node) }

// DescribeValue is Describe for a Document's value.
func DescribeValue(value any) string { return describe(treeOf(value)) }

func describe(n *yaml.Node) string {
	n = target(n)
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
