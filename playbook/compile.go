package playbook

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/replicante-io/playbooks/internal/spelling"
	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// expr reads an expression. One that is not given is nil.
func (w *walk) expr(v yamltree.Value, k want, stage int) *Expr {
	if !v.Given() {
		return nil
	}
	if !v.IsString() {
		if v.IsBool() {
			w.WrongType(v, "an expression in quotes")
		} else {
			w.WrongType(v, "an expression")
		}
		return nil
	}
	text := v.Text()
	if strings.HasPrefix(strings.TrimSpace(text), "${") {
		w.Add(v, codeBadExpression, "is already an expression; write it without ${ and }")
		return nil
	}
	return w.compile(v, text, 0, k, stage)
}

// compile compiles an expression that starts at character from of v.
func (w *walk) compile(v yamltree.Value, text string, from int, k want, stage int) *Expr {
	e, issues := w.scope.compile(text, k, stage)
	for _, i := range issues {
		w.AddInside(v, from+i.character, i.code, "%s", i.message)
	}
	return e
}

// issue is something wrong with an expression, at one of its characters, counted from 0.
type issue struct {
	character int
	code      string
	message   string
}

// compile compiles an expression of a stage.
func (s *scope) compile(text string, k want, stage int) (*Expr, []issue) {
	s.left--
	s.bytes -= len(text)
	switch {
	case strings.TrimSpace(text) == "":
		return nil, []issue{{0, yamltree.CodeMissing, "the expression is empty"}}
	case utf8.RuneCountInString(text) > maxExpression:
		return nil, []issue{{0, yamltree.CodeTooLarge, fmt.Sprintf("the expression is longer than %d characters", maxExpression)}}
	case s.left < 0 || s.bytes < 0:
		return nil, []issue{{0, yamltree.CodeTooLarge, fmt.Sprintf("the playbook has more than %d expressions, or more than %d bytes of expressions", maxExpressions, record.MaxPlaybookText)}}
	}
	env := s.env(k)
	clear(s.missed)
	checked, bad := env.Compile(text)
	if bad.Err() != nil {
		return nil, s.explain(text, bad.Errors(), k)
	}
	if !k.allows(checked.OutputType()) {
		return nil, []issue{{0, yamltree.CodeWrongType, fmt.Sprintf("must be %s, but the expression returns %s", wantedOf[k], a(cel.FormatCELType(checked.OutputType())))}}
	}
	e := &Expr{text: text, ast: checked.NativeRep()}
	if k == wantMessage {
		if issues := beyondMessage(text, e.ast); len(issues) > 0 {
			return nil, issues
		}
	}
	if issues := s.tooEarly(text, e.ast, stage); len(issues) > 0 {
		return nil, issues
	}
	program, err := plan(env, e.ast)
	if err != nil {
		return nil, []issue{{0, codeBadExpression, err.Error()}}
	}
	e.program, e.env = program, env
	e.mentions()
	if k == wantExpect && (e.NeedsFacts() || e.NeedsAllNodes()) {
		return nil, []issue{{0, codeBadExpression, "expect sees result, params, run, results, node.id and node.cluster, and no facts of nodes; check those with health"}}
	}
	return e, nil
}

// plan makes the program of a checked expression.
func plan(env *cel.Env, checked *ast.AST) (cel.Program, error) {
	options, err := bounds(checked)
	if err != nil {
		return nil, fmt.Errorf("matches %w", err)
	}
	return env.PlanProgram(checked, append(options, cel.EvalOptions(cel.OptOptimize))...)
}

// tooEarly finds references to results of stages that run after this one.
func (s *scope) tooEarly(text string, checked *ast.AST, stage int) []issue {
	var issues []issue
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() != ast.SelectKind {
			return
		}
		of, name := x.AsSelect().Operand(), x.AsSelect().FieldName()
		if of.Kind() != ast.IdentKind || of.AsIdent() != "results" {
			return
		}
		if slices.IndexFunc(s.stages, func(n stageName) bool { return n.name == name }) > stage {
			place := checked.SourceInfo().GetStartLocation(x.ID())
			issues = append(issues, issue{character(text, place), codeBadExpression,
				fmt.Sprintf("stage %s runs after this one, so it has no results yet", name)})
		}
	}))
	return issues
}

// character is the character of text at a location of CEL.
func character(text string, place common.Location) int {
	line, before := 1, 0
	for _, r := range text {
		if line >= place.Line() {
			break
		}
		before++
		if r == '\n' {
			line++
		}
	}
	return before + max(0, place.Column())
}

var (
	undefinedField = regexp.MustCompile(`^undefined field '(.*)'$`)
	undeclared     = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	noOverload     = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(.*)'$`)
)

// explain turns the errors of CEL into problems that name what a playbook can refer to.
func (s *scope) explain(text string, errors []*common.Error, k want) []issue {
	var issues []issue
	for _, e := range errors {
		at := min(character(text, e.Location), utf8.RuneCountInString(text))
		code, message := codeBadExpression, e.Message
		if m := undefinedField.FindStringSubmatch(message); m != nil {
			if of, ok := s.missed[m[1]]; ok {
				code, message = s.noField(of, m[1])
				if strings.HasPrefix(string([]rune(text)[at:]), ".") { // CEL points at the dot
					at++
				}
			}
		} else if m := undeclared.FindStringSubmatch(message); m != nil {
			message = s.unknownName(text, m[1], k)
		} else if m := noOverload.FindStringSubmatch(message); m != nil {
			message = fmt.Sprintf("the operator or function %s cannot be applied to %s", strings.Trim(m[1], "_"), m[2])
		} else if syntax, ok := strings.CutPrefix(message, "Syntax error: "); ok {
			syntax, _, _ = strings.Cut(syntax, " expecting {")
			switch {
			case strings.Contains(syntax, "'<EOF>'"):
				message = "the expression is incomplete"
			case strings.HasPrefix(syntax, "token recognition error at: '= "):
				message = "syntax error: = is not an operator; use == to compare"
			default:
				message = "syntax error: " + strings.ReplaceAll(syntax, "<EOF>", "the end of the expression")
			}
		}
		issues = append(issues, issue{at, code, message})
	}
	return issues
}

func (s *scope) noField(of, field string) (code, message string) {
	names := s.shapes[of].names
	hint := yamltree.DidYouMean(field, names)
	switch {
	case of == typeParams && len(names) == 0:
		return codeUnknownParam, "unknown param " + yamltree.Quote(field) + "; the playbook declares no params"
	case of == typeParams:
		return codeUnknownParam, "unknown param " + yamltree.Quote(field) + hint
	case of == typeResults:
		return codeBadExpression, "unknown stage " + yamltree.Quote(field) + hint
	case strings.HasPrefix(of, typeStage):
		return codeBadExpression, shapeLabel(of) + " has no step " + yamltree.Quote(field) + hint
	case of == typeNode:
		hint += " (custom attributes are in node.attributes)"
	}
	return codeBadExpression, of + " has no field " + yamltree.Quote(field) + hint
}

func (s *scope) unknownName(text, name string, k want) string {
	known := []string{"params", "run", "node", "nodes", "results"}
	if regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\s*\(`).MatchString(text) {
		message := "unknown function " + yamltree.Quote(name)
		if near := spelling.Nearest(name, slices.Sorted(maps.Keys(s.cluster.Functions()))); near != "" {
			message += "; did you mean " + near + "?"
		}
		return message
	}
	if k == wantExpect {
		known = append(known, "result")
	}
	if k == wantGuard {
		known = slices.DeleteFunc(known, func(name string) bool { return name == "node" })
		if name == "node" || strings.HasPrefix(name, "node.") {
			return "a guard is evaluated for the whole cluster; use nodes, not node"
		}
	}
	if k == wantMessage && slices.Contains(known, name) && name == "node" {
		return "the message of an approval sees params and run only, not node"
	}
	if slices.Contains(known, name) {
		return name + " is a variable, not a type; { } cannot follow it"
	}
	if s.shapes[typeParams].fields[name] != nil {
		return "unknown name " + yamltree.Quote(name) + "; did you mean params." + name + "?"
	}
	return "unknown name " + yamltree.Quote(name) + yamltree.DidYouMean(name, known)
}

// a is the name of a CEL type with its article.
func a(name string) string {
	switch {
	case strings.HasPrefix(name, "a "), strings.HasPrefix(name, "an "), strings.HasPrefix(name, "the "):
		return name
	case name == types.IntType.TypeName():
		return "an int"
	case name == types.NullType.TypeName():
		return "null"
	}
	return "a " + name
}
