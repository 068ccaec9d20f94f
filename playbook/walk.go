package playbook

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

// walk reads the documents of one file.
type walk struct {
	*yamltree.Reader
	scope    *scope // of the document being read
	rollback bool   // a stage so far has rollback steps
}

// reservedWords of CEL cannot be selected in an expression: results.true is a syntax error.
var reservedWords = []string{"true", "false", "null", "in"}

// name reads the name of a stage, a step or a param. Names maps those already used to their lines.
func (w *walk) name(v yamltree.Value, names map[string]int) string {
	name, ok := w.String(v, maxName)
	switch {
	case !ok:
		return ""
	case !plainName.MatchString(name):
		hint := ""
		if better := strings.Map(func(r rune) rune {
			if r == '-' || r == ' ' || r == '.' {
				return '_'
			}
			return unicode.ToLower(r)
		}, name); plainName.MatchString(better) {
			hint = ", such as " + better
		}
		w.Add(v, yamltree.CodeBadName, "%s is not a valid name; use lower-case letters, digits and _, starting with a letter%s", yamltree.Quote(name), hint)
		return ""
	case slices.Contains(reservedWords, name):
		w.Add(v, yamltree.CodeBadName, "%s is a reserved word in expressions; choose another name", yamltree.Quote(name))
		return ""
	}
	if line, twice := names[name]; twice {
		where := ""
		if line > 0 {
			where = " at line " + strconv.Itoa(line)
		}
		w.Add(v, yamltree.CodeDuplicate, "%s is already used%s; choose another name", yamltree.Quote(name), where)
		return ""
	}
	names[name] = v.Line()
	return name
}
