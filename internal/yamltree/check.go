package yamltree

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/record"
)

const (
	maxNodes    = 100_000 // values of a document, with every alias expanded
	maxExpanded = 4 << 20 // bytes of a document's values, with every alias expanded

	// MaxDepth is how deep lists and mappings may be nested.
	MaxDepth = 64
)

// check reports what is wrong with a document whatever it is about, and whether it may be walked: a document that loops,
// or that is too large with its aliases expanded, may not.
func (r *Reader) check(root *yaml.Node) bool {
	c := &treeCheck{Reader: r, sizes: map[*yaml.Node]treeSize{}}
	size := c.visit(root, 0)
	switch {
	case c.failed:
		return false
	case size.nodes > maxNodes || size.bytes > maxExpanded:
		r.Add(Value{node: root}, CodeTooLarge, "the document is too large with its aliases expanded; at most %d values and %d bytes are allowed",
			maxNodes, maxExpanded)
		return false
	}
	return true
}

// treeSize is the size of a node with its aliases expanded.
type treeSize struct{ nodes, bytes, height int }

type treeCheck struct {
	*Reader
	sizes  map[*yaml.Node]treeSize // of the nodes visited so far; those being visited have 0 nodes
	failed bool
}

func (c *treeCheck) fail(n *yaml.Node, code, format string, args ...any) {
	c.failed = true
	c.Add(Value{node: n}, code, format, args...)
}

// visit checks n and everything in it. Depth is how many lists and mappings n is nested in.
func (c *treeCheck) visit(n *yaml.Node, depth int) treeSize {
	size := treeSize{nodes: 1, bytes: len(n.Value)}
	if c.failed {
		return size
	}
	if depth > MaxDepth {
		c.tooDeep(n)
		return size
	}
	if n.Style&yaml.TaggedStyle != 0 {
		c.addOnce(Value{node: n}, CodeYAML, "the tag %s is not supported; remove it, and quote the value if it is a string", Quote(n.Tag))
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.alias(n, depth)
	case yaml.ScalarNode:
		if n.Style&yaml.TaggedStyle == 0 {
			c.number(n)
		}
		if err := record.CheckText(n.Value); err != nil && !c.reported[n] {
			c.addOnce(Value{node: n}, CodeEncoding, "the text %s, which cannot be stored", err)
		}
		c.checkVisible(n, false)
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

func (c *treeCheck) tooDeep(n *yaml.Node) {
	c.fail(n, CodeTooLarge, "lists and mappings are nested more than %d levels deep here", MaxDepth)
}

// alias checks an alias without visiting again what it refers to.
func (c *treeCheck) alias(n *yaml.Node, depth int) treeSize {
	known, visited := c.sizes[n.Alias]
	switch {
	case !visited:
		c.fail(n, CodeYAML, "*%s refers to an anchor of another document; define &%s in this one", n.Value, n.Value)
	case known.nodes == 0:
		c.fail(n, CodeYAML, "*%s refers to a value that contains it, so it never ends", n.Value)
	case depth+known.height > MaxDepth:
		c.tooDeep(n)
	}
	return known
}

// keys checks the keys of a mapping: strings, each only once.
func (c *treeCheck) keys(n *yaml.Node) {
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			c.addOnce(Value{node: key}, CodeYAML, "a key cannot be an alias; write it out")
			continue
		}
		switch {
		case key.Tag == tagMerge:
			c.addOnce(Value{node: key}, CodeYAML, "merge keys (<<) are not supported; write the keys out")
		case key.Kind != yaml.ScalarNode:
			c.addOnce(Value{node: key}, CodeWrongType, "a key must be a string, not %s%s", describe(key), c.templateHint(key))
		case !isString(key):
			c.addOnce(Value{node: key}, CodeWrongType, "a key must be a string, not %s; quote it: %s", describe(key), Quote(key.Value))
		case strings.ContainsFunc(key.Value, unicode.IsControl):
			c.addOnce(Value{node: key}, CodeBadName, "the key %s contains control characters", Quote(key.Value))
		case seen[key.Value] != nil:
			c.addOnce(Value{node: key}, CodeDuplicate, "the key %s is already given at line %d", Quote(key.Value), seen[key.Value].Line)
		default:
			seen[key.Value] = key
			c.checkVisible(key, true)
			c.checkSpaceAfterColon(key, n.Content[i+1])
		}
	}
}

var (
	plainInt   = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	digitsOnly = regexp.MustCompile(`^[-+]?[0-9]+$`)
)

const (
	ambiguousNumber = "YAML parsers do not agree which number %s is; write it in plain decimal digits, or quote it if it is a string"
	largeInteger    = "%s is too large for an integer (64 bits); quote it if it is a string"
)

// number reports numbers that YAML parsers do not agree about, and those that JSON cannot hold.
func (c *treeCheck) number(n *yaml.Node) {
	switch n.Tag {
	case tagInt:
		if !plainInt.MatchString(n.Value) {
			c.addOnce(Value{node: n}, CodeBadValue, ambiguousNumber, Quote(n.Value))
		} else if _, err := strconv.ParseInt(n.Value, 10, 64); err != nil {
			c.addOnce(Value{node: n}, CodeBadValue, largeInteger, Quote(n.Value))
		}
	case tagFloat:
		number, err := strconv.ParseFloat(n.Value, 64)
		switch {
		case plainInt.MatchString(n.Value):
			c.addOnce(Value{node: n}, CodeBadValue, largeInteger, Quote(n.Value))
		case digitsOnly.MatchString(n.Value), strings.Contains(n.Value, "_"):
			c.addOnce(Value{node: n}, CodeBadValue, ambiguousNumber, Quote(n.Value))
		case err != nil, math.IsInf(number, 0), math.IsNaN(number):
			c.addOnce(Value{node: n}, CodeBadValue, "%s is not a finite number; quote it if it is a string", Quote(n.Value))
		}
	}
}

var (
	oldBool        = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off)$`)    // booleans in YAML 1.1
	oldSexagesimal = regexp.MustCompile(`^[-+]?[0-9]+(:[0-5]?[0-9])+$`) // numbers in YAML 1.1
	trailingZero   = regexp.MustCompile(`^[-+]?[0-9]*\.[0-9]+0$`)       // 7.10 is a version more often than 7.1
)

// CheckUntyped reports the scalars in v that YAML parsers do not agree about, or that lose digits. It is for values whose
// types are not known otherwise.
func (r *Reader) CheckUntyped(v Value) {
	switch {
	case v.IsMapping():
		object, _ := r.Object(v)
		for _, key := range object.Keys() {
			r.CheckUntyped(object.Untyped(key))
		}
	case v.IsList():
		for _, item := range v.Items() {
			r.CheckUntyped(item)
		}
	case r.checkAmbiguous(v, ", or write true or false") && r.plain(v):
		r.checkUntypedNumber(v)
	}
}

// plain reports whether v is text without quotes that was not reported yet.
func (r *Reader) plain(v Value) bool { return v.node.Style == 0 && r.text != nil && !r.Reported(v) }

// checkAmbiguous reports a string without quotes that some YAML parsers read as something else, and returns whether it is clear. The hint says what
// else may be written than a string; without one a string is wanted, and a single letter is clear: only the text of YAML 1.1 says otherwise.
func (r *Reader) checkAmbiguous(v Value, hint string) bool {
	if !r.plain(v) {
		return !r.Reported(v)
	}
	switch text, tag := v.node.Value, v.node.Tag; {
	case tag == tagTime:
		r.addOnce(v, CodeBadValue, "some YAML parsers read %s as a date; quote it", text)
	case tag == tagString && oldBool.MatchString(text) && (hint != "" || len(text) > 1):
		r.addOnce(v, CodeBadValue, "some YAML parsers read %s as a boolean; quote it%s", text, hint)
	case tag == tagString && oldSexagesimal.MatchString(text):
		r.addOnce(v, CodeBadValue, "some YAML parsers read %s as a number; quote it", text)
	}
	return !r.Reported(v)
}

func (r *Reader) checkUntypedNumber(v Value) {
	switch text, tag := v.node.Value, v.node.Tag; {
	case tag == tagFloat && strings.ContainsAny(text, "eE"):
		r.addOnce(v, CodeBadValue, "some YAML parsers read %s as a string; write the number without an exponent, or quote it", text)
	case tag == tagFloat && trailingZero.MatchString(text):
		r.addOnce(v, CodeBadValue, "%s is read as the number %s; quote it if it is a string", text, strings.TrimRight(text, "0"))
	}
}

// numberLike matches what some YAML parser could read as a number, a date or a time.
var numberLike = regexp.MustCompile(`^[-+.]*[0-9][0-9a-fA-FxXoObTZ_.:+-]*$`)

// NeedsQuotes tells whether a string has to be quoted in YAML because parsers disagree about it, or read something else. Other
// reasons for quotes, such as characters with a meaning, are not considered.
func NeedsQuotes(text string) bool {
	switch strings.ToLower(text) {
	case "", "~", "null", "true", "false", "=", "<<", ".inf", "-.inf", "+.inf", ".nan":
		return true
	}
	return oldBool.MatchString(text) || numberLike.MatchString(text)
}
