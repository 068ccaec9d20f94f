package playbook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// Template is a step's args: a Document whose strings may contain ${expressions}. A string that is one whole ${expression}
// becomes its result, of any type. In other strings the result is inserted: strings as they are, durations as 30s,
// everything else as JSON. $${ is a literal ${. Keys are never templates.
type Template struct {
	root  part
	exprs []*Expr
	kind  want // of the expressions
}

// NeedsFacts reports whether an expression mentions more of node than its id and cluster.
func (t *Template) NeedsFacts() bool {
	return t.any((*Expr).NeedsFacts)
}

// NeedsAllNodes reports whether an expression mentions nodes.
func (t *Template) NeedsAllNodes() bool {
	return t.any((*Expr).NeedsAllNodes)
}

func (t *Template) any(is func(*Expr) bool) bool {
	if t == nil {
		return false
	}
	for _, e := range t.exprs {
		if is(e) {
			return true
		}
	}
	return false
}

// Resolve evaluates the expressions. Parts without expressions are shared between results, so callers must not change
// them. The error is ErrAbsent when it depends on an absent fact. A nil template gives an empty Document.
func (t *Template) Resolve(v Vars) (record.Document, error) {
	if t == nil {
		return record.Document{}, nil
	}
	left := maxValue
	resolved, err := t.root.resolve(v, &left)
	if err != nil {
		return nil, err
	}
	return record.Document(resolved.(map[string]any)), nil
}

// part is a value of a template. Left bounds the results of all its expressions together.
type part interface {
	resolve(v Vars, left *int) (any, error)
}

type (
	literal    struct{ value any }
	whole      struct{ expr *Expr }
	textPart   []any // string or *Expr
	listPart   []part
	objectPart map[string]part
)

func (p literal) resolve(Vars, *int) (any, error) { return p.value, nil }

func (p whole) resolve(v Vars, left *int) (any, error) {
	result, err := p.expr.value(v, left)
	if err != nil {
		return nil, err
	}
	plain, err := documentValue(result)
	if err != nil {
		return nil, fmt.Errorf("expression %s: %w", yamltree.Quote(p.expr.text), err)
	}
	return plain, nil
}

func (p textPart) resolve(v Vars, left *int) (any, error) {
	var b strings.Builder
	for _, piece := range p {
		expr, ok := piece.(*Expr)
		if !ok {
			b.WriteString(piece.(string))
			continue
		}
		result, err := whole{expr}.resolve(v, left)
		if err != nil {
			return nil, err
		}
		if text, ok := result.(string); ok {
			b.WriteString(text)
			continue
		}
		encoded, err := encode(result)
		if err != nil {
			return nil, fmt.Errorf("expression %s: %w", yamltree.Quote(expr.text), err)
		}
		b.WriteString(encoded)
	}
	return b.String(), nil
}

func (p listPart) resolve(v Vars, left *int) (any, error) {
	list := make([]any, len(p))
	for i, item := range p {
		resolved, err := item.resolve(v, left)
		if err != nil {
			return nil, err
		}
		list[i] = resolved
	}
	return list, nil
}

func (p objectPart) resolve(v Vars, left *int) (any, error) {
	object := make(map[string]any, len(p))
	for _, key := range slices.Sorted(maps.Keys(p)) { // in order, so that of several errors it is always the same one
		resolved, err := p[key].resolve(v, left)
		if err != nil {
			return nil, err
		}
		object[key] = resolved
	}
	return object, nil
}

// documentValue is what an expression gave as a Document holds it.
func documentValue(v any) (any, error) {
	switch v := v.(type) {
	case time.Duration:
		return yamltree.FormatDuration(v), nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case uint64:
		return record.Normalize(v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errors.New("its result is a number that JSON cannot hold")
		}
	case []any:
		for i, item := range v {
			plain, err := documentValue(item)
			if err != nil {
				return nil, err
			}
			v[i] = plain
		}
	case map[string]any:
		for key, item := range v {
			plain, err := documentValue(item)
			if err != nil {
				return nil, err
			}
			v[key] = plain
		}
	}
	return v, nil
}

// encode is a value as JSON, without escapes for HTML.
func encode(v any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// template reads the args of a step. No args are nil.
func (w *walk) template(v yamltree.Value, stage int) *Template {
	if o, ok := w.Reader.Object(v); !ok || len(o.Keys()) == 0 {
		return nil
	}
	w.CheckUntyped(v)
	t := &Template{kind: wantJSON}
	t.root = w.part(v, stage, t)
	return t
}

func (w *walk) part(v yamltree.Value, stage int, t *Template) part {
	before := len(t.exprs)
	var built part
	switch {
	case v.IsMapping():
		o, _ := w.Reader.Object(v)
		object := objectPart{}
		for _, key := range o.Keys() {
			object[key] = w.part(o.Untyped(key), stage, t)
		}
		built = object
	case v.IsList():
		items := v.Items()
		list := make(listPart, len(items))
		for i, item := range items {
			list[i] = w.part(item, stage, t)
		}
		built = list
	case v.IsString() && strings.Contains(v.Text(), "${"):
		return w.textPart(v, stage, t)
	case v.IsString() && v.Line() > 0 && otherTemplate.MatchString(v.Text()):
		w.AddInside(v, utf8.RuneCountInString(v.Text()[:otherTemplate.FindStringIndex(v.Text())[0]]), codeBadExpression,
			"{{ … }} is not an expression here: write ${…}; for the text itself write ${'{{ … }}'}")
	}
	if len(t.exprs) == before {
		plain, _ := unescape(v.Decode(), built)
		return literal{plain}
	}
	return built
}

// unescape is a value without expressions, in which $${ has become ${.
func unescape(plain any, built part) (any, error) {
	if built == nil {
		return plain, nil
	}
	left := maxValue
	return built.resolve(nil, &left)
}

// otherTemplate is how other tools write an expression over what a playbook knows.
var otherTemplate = regexp.MustCompile(`\{\{-?\s*(params|node|nodes|run|results)\b`)

// textPart reads a string that contains ${.
func (w *walk) textPart(v yamltree.Value, stage int, t *Template) part {
	var pieces textPart
	var text strings.Builder
	rest, at := v.Text(), 0 // at: the character where rest begins
	skip := func(size int) {
		at += utf8.RuneCountInString(rest[:size])
		rest = rest[size:]
	}
	for rest != "" {
		dollar := strings.Index(rest, "${")
		if dollar < 0 {
			text.WriteString(rest)
			break
		}
		if dollar > 0 && rest[dollar-1] == '$' {
			text.WriteString(rest[:dollar-1] + "${")
			skip(dollar + 2)
			continue
		}
		text.WriteString(rest[:dollar])
		skip(dollar)
		end := exprEnd(rest[2:])
		if end < 0 {
			w.AddInside(v, at, codeBadExpression, "${ is not closed with }; write $${ for a literal ${")
			return literal{v.Text()}
		}
		source := rest[2 : 2+end]
		e := w.compile(v, source, at+2, t.kind, stage)
		if e == nil {
			e = &Expr{text: source} // never evaluated, since a problem was reported
		}
		t.exprs = append(t.exprs, e)
		if text.Len() > 0 {
			pieces = append(pieces, text.String())
			text.Reset()
		}
		pieces = append(pieces, e)
		skip(2 + end + 1)
	}
	if text.Len() > 0 {
		pieces = append(pieces, text.String())
	}
	switch {
	case len(pieces) == 0:
		return literal{""}
	case len(pieces) > 1:
		return pieces
	}
	if e, ok := pieces[0].(*Expr); ok {
		return whole{e}
	}
	return literal{pieces[0]}
}

// exprEnd is the index of the } that ends the expression at the start of s, or -1. A } inside a string of the expression,
// or one that closes a { of the expression, does not end it.
func exprEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		case '"', '\'':
			size := stringEnd(s[i:], i > 0 && (s[i-1] == 'r' || s[i-1] == 'R') && !identBefore(s[:i-1]))
			if size < 0 {
				return -1
			}
			i += size - 1
		}
	}
	return -1
}

// identBefore reports whether s ends in a character that makes a following r part of a name, except for b, as in br"".
func identBefore(s string) bool {
	if s == "" {
		return false
	}
	c := s[len(s)-1]
	if c == 'b' || c == 'B' {
		return identBefore(s[:len(s)-1])
	}
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// stringEnd is the length of the CEL string that s starts with, or -1 if it does not end. In a raw string \ does not escape.
func stringEnd(s string, raw bool) int {
	quotes := s[:1]
	if triple := strings.Repeat(quotes, 3); strings.HasPrefix(s, triple) {
		quotes = triple
	}
	for i := len(quotes); i < len(s); i++ {
		switch {
		case s[i] == '\\' && !raw:
			i++
		case strings.HasPrefix(s[i:], quotes):
			return i + len(quotes)
		}
	}
	return -1
}
