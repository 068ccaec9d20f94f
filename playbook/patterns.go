package playbook

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"sync"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// maxPattern bounds a pattern of matches, in instructions of the program that it becomes: time is that times the text's length.
const maxPattern = 5_000

var errLongPattern = errors.New("has a pattern that is too large (more than 5,000 instructions)")

// pattern is a compiled regular expression.
type pattern struct {
	text string
	size int // instructions
	*regexp.Regexp
}

// patterns are the regular expressions of one expression.
type patterns struct {
	fixed map[string]*pattern // those that are written in it
	mu    sync.Mutex
	last  *pattern // of those that were computed
}

// fixedPatterns compiles the patterns that are written in an expression.
func fixedPatterns(checked *ast.AST) (*patterns, error) {
	p := &patterns{fixed: map[string]*pattern{}}
	var bad error
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() != ast.CallKind || x.AsCall().FunctionName() != overloads.Matches {
			return
		}
		args := x.AsCall().Args()
		if last := args[len(args)-1]; last.Kind() == ast.LiteralKind {
			if text, ok := last.AsLiteral().(types.String); ok {
				compiled, err := compilePattern(string(text))
				if err != nil && bad == nil {
					bad = err
				}
				p.fixed[string(text)] = compiled
			}
		}
	}))
	return p, bad
}

func compilePattern(text string) (*pattern, error) {
	if len(text) > maxPattern {
		return nil, errLongPattern
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	size := instructions(parsed)
	if size > maxPattern {
		return nil, errLongPattern
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return &pattern{text, size, compiled}, nil
}

// instructions is about how many instructions a regular expression becomes. Repetitions are copied.
func instructions(r *syntax.Regexp) int {
	size := 1 + len(r.Rune)
	for _, sub := range r.Sub {
		size = min(size+instructions(sub), 2*maxPattern)
	}
	if r.Op == syntax.OpRepeat {
		size *= max(1, r.Min, r.Max)
	}
	return min(size, 2*maxPattern)
}

func (p *patterns) get(text string) (*pattern, error) {
	if fixed := p.fixed[text]; fixed != nil {
		return fixed, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil && p.last.text == text {
		return p.last, nil
	}
	compiled, err := compilePattern(text)
	if err == nil {
		p.last = compiled
	}
	return compiled, err
}

func (p *patterns) matches(text, by ref.Val) ref.Val {
	in, ok1 := text.(types.String)
	written, ok2 := by.(types.String)
	if !ok1 || !ok2 {
		return types.NoSuchOverloadErr()
	}
	compiled, err := p.get(string(written))
	switch {
	case errors.Is(err, errLongPattern):
		return types.WrapErr(err)
	case err != nil:
		return types.WrapErr(fmt.Errorf("matches: %w", err))
	case compiled.steps(in) > maxCost:
		return types.WrapErr(errTooMany)
	}
	return types.Bool(compiled.MatchString(string(in)))
}

// steps is the work of matching a text: each of its bytes may meet each instruction.
func (p *pattern) steps(text types.String) int { return p.size + p.size*len(text)/textStep }

// steps is the work of a call of matches, which has compiled its pattern.
func (p *patterns) steps(args []ref.Val) int {
	text, ok1 := args[0].(types.String)
	written, ok2 := args[1].(types.String)
	if !ok1 || !ok2 {
		return 1
	}
	if compiled, err := p.get(string(written)); err == nil {
		return compiled.steps(text)
	}
	return maxPattern
}
