package playbook

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

const (
	tagNull   = "!!null"
	tagBool   = "!!bool"
	tagInt    = "!!int"
	tagFloat  = "!!float"
	tagString = "!!str"
	tagTime   = "!!timestamp" // a date without quotes; it stays text here
	tagList   = "!!seq"
	tagMap    = "!!map"
	tagMerge  = "!!merge"
)

// target is n, or what n is an alias of. Only a checked tree may be followed without fear of loops.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isText(n *yaml.Node) bool { return n.Tag == tagString || n.Tag == tagTime }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == tagNull }

// check reports what is wrong with a document as YAML, whatever it is about, and tells whether it may be walked: a
// document that loops, or is too large with its aliases written out, may not. What it reported is in w.known, for
// others to be silent about.
func (w *walk) check(root *yaml.Node) bool {
	c := &treeCheck{walk: w, root: root, sizes: map[*yaml.Node]treeSize{}}
	size := c.visit(root, 0)
	switch {
	case c.broken:
		return false
	case size.nodes > maxNodes || size.bytes > maxExpanded:
		w.add(root, "", codeTooLarge, "the document is too large once its aliases are written out; it may have %d values and %d bytes",
			maxNodes, maxExpanded)
		return false
	}
	return true
}

// treeSize is how much a node is with its aliases written out.
type treeSize struct{ nodes, bytes, height int }

type treeCheck struct {
	*walk
	root   *yaml.Node
	sizes  map[*yaml.Node]treeSize // of nodes already visited; open ones have no nodes
	broken bool
}

func (c *treeCheck) fail(n *yaml.Node, code, format string, args ...any) {
	c.broken = true
	c.add(n, "", code, format, args...)
}

// visit checks n and what is in it. Depth counts what n is in, as written.
func (c *treeCheck) visit(n *yaml.Node, depth int) treeSize {
	size := treeSize{nodes: 1, bytes: len(n.Value)}
	if c.broken {
		return size
	}
	if depth > maxDepth {
		c.fail(n, codeTooLarge, "lists and mappings are more than %d deep in each other here", maxDepth)
		return size
	}
	if n.Style&yaml.TaggedStyle != 0 {
		c.report(n, "", codeYAML, "the tag %s is not supported; remove it, and quote what is text", quote(n.Tag))
	}
	switch n.Kind {
	case yaml.AliasNode:
		known, visited := c.sizes[n.Alias]
		switch {
		case !visited:
			c.fail(n, codeYAML, "*%s refers to an anchor of another document; define &%s in this one", n.Value, n.Value)
		case known.nodes == 0:
			c.fail(n, codeYAML, "*%s is inside of what it refers to, so it never ends", n.Value)
		case depth+known.height > maxDepth:
			c.fail(n, codeTooLarge, "lists and mappings are more than %d deep in each other here", maxDepth)
		}
		return known
	case yaml.ScalarNode:
		if n.Style&yaml.TaggedStyle == 0 {
			c.number(n)
		}
	case yaml.MappingNode:
		c.sizes[n] = treeSize{}
		c.keys(n)
	case yaml.SequenceNode:
		c.sizes[n] = treeSize{}
	}
	for _, child := range n.Content {
		inner := c.visit(child, depth+1)
		size.nodes = min(size.nodes+inner.nodes, maxNodes+1)
		size.bytes = min(size.bytes+inner.bytes, maxExpanded+1)
		size.height = max(size.height, inner.height+1)
	}
	c.sizes[n] = size
	return size
}

// keys checks the keys of a mapping: text, and each only once.
func (c *treeCheck) keys(n *yaml.Node) {
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			c.report(key, "", codeYAML, "a key cannot be an alias; write it out")
			continue
		}
		switch {
		case key.Tag == tagMerge:
			c.report(key, "", codeYAML, "merge keys (<<) are not supported; write the keys out")
		case key.Kind != yaml.ScalarNode:
			c.report(key, "", codeWrongType, "a key must be text, not %s", describe(key))
		case !isText(key):
			c.report(key, "", codeWrongType, "a key must be text, not %s; quote it: %s", describe(key), quote(key.Value))
		case strings.ContainsFunc(key.Value, unicode.IsControl):
			c.report(key, "", codeBadName, "the key %s has control characters in it", quote(key.Value))
		case seen[key.Value] != nil:
			c.report(key, "", codeDuplicate, "the key %s is already given at line %d", quote(key.Value), seen[key.Value].Line)
		default:
			seen[key.Value] = key
		}
	}
}

var (
	plainInt   = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	digitsOnly = regexp.MustCompile(`^[-+]?[0-9]+$`)
)

// number reports numbers that readers of YAML do not agree about, and those that JSON cannot hold.
func (c *treeCheck) number(n *yaml.Node) {
	switch n.Tag {
	case tagInt:
		if !plainInt.MatchString(n.Value) {
			c.report(n, "", codeBadValue, "readers of YAML do not agree what number %s is; write it in plain decimal digits, or quote it if it is text",
				quote(n.Value))
		} else if _, err := strconv.ParseInt(n.Value, 10, 64); err != nil {
			c.report(n, "", codeBadValue, "%s is too large for a whole number (64 bits); quote it if it is text", quote(n.Value))
		}
	case tagFloat:
		number, err := strconv.ParseFloat(n.Value, 64)
		switch {
		case plainInt.MatchString(n.Value):
			c.report(n, "", codeBadValue, "%s is too large for a whole number (64 bits); quote it if it is text", quote(n.Value))
		case digitsOnly.MatchString(n.Value), err != nil && strings.Contains(n.Value, "_"):
			c.report(n, "", codeBadValue, "readers of YAML do not agree what number %s is; write it in plain decimal digits, or quote it if it is text",
				quote(n.Value))
		case err != nil, math.IsInf(number, 0), math.IsNaN(number):
			c.report(n, "", codeBadValue, "%s is not a number that can be kept; quote it if it is text", quote(n.Value))
		}
	}
}

// value is what a checked tree holds, as a Document's value.
func value(n *yaml.Node) any {
	n = target(n)
	switch n.Kind {
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = value(item)
		}
		return list
	case yaml.MappingNode:
		object := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := target(n.Content[i]).Value; object[key] == nil {
				object[key] = value(n.Content[i+1])
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

// describe says what n is, in a message.
func describe(n *yaml.Node) string {
	n = target(n)
	switch {
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Tag == tagNull:
		return "nothing"
	case n.Tag == tagBool:
		return "the truth value " + n.Value
	case n.Tag == tagInt, n.Tag == tagFloat:
		return "the number " + n.Value
	}
	return "the text " + quote(n.Value)
}

func sortedKeys[V any](object map[string]V) []string { return slices.Sorted(maps.Keys(object)) }
