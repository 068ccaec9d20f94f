package playbook

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Known is the template as far as a plan can know it: a value with an expression that is known at run time is as it was written. Places
// are where such values are, such as peers[0].url.
func (t *Template) Known() (known *Template, places []string) {
	if t == nil || !t.any((*Expr).KnownAtRunTime) {
		return t, nil
	}
	root := knownPart(t.root, "", &places)
	known = &Template{root: root, kind: t.kind}
	for _, e := range t.exprs {
		if !e.KnownAtRunTime() {
			known.exprs = append(known.exprs, e)
		}
	}
	return known, places
}

// Known is the message as far as a plan can know it.
func (m *Message) Known() *Message {
	if m == nil {
		return nil
	}
	return &Message{m.source, knownPart(m.parts, "", new([]string))}
}

func knownPart(p part, place string, places *[]string) part {
	written := func(text string) part {
		*places = append(*places, place)
		return literal{text}
	}
	switch p := p.(type) {
	case whole:
		if p.expr.KnownAtRunTime() {
			return written("${" + p.expr.text + "}")
		}
	case textPart:
		if slices.ContainsFunc(p, func(piece any) bool { e, _ := piece.(*Expr); return e.KnownAtRunTime() }) {
			return written(p.written())
		}
	case listPart:
		known := make(listPart, len(p))
		for i, item := range p {
			known[i] = knownPart(item, place+"["+strconv.Itoa(i)+"]", places)
		}
		return known
	case objectPart:
		known := make(objectPart, len(p))
		for _, key := range slices.Sorted(maps.Keys(p)) {
			at := key
			if place != "" {
				at = place + "." + key
			}
			known[key] = knownPart(p[key], at, places)
		}
		return known
	}
	return p
}

// written is the text with its expressions.
func (p textPart) written() string {
	var b strings.Builder
	for _, piece := range p {
		if expr, ok := piece.(*Expr); ok {
			b.WriteString("${" + expr.text + "}")
		} else {
			b.WriteString(strings.ReplaceAll(piece.(string), "${", "$${"))
		}
	}
	return b.String()
}
