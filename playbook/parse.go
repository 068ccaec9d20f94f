package playbook

import (
	"fmt"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// The codes of problems that only playbooks have, beside those of yamltree. They are stable: programs may rely on them.
const (
	codeUnknownParam  = "unknown_param"  // a param that is not declared
	codeBadExpression = "bad_expression" // an expression or a template that does not compile
	codeNotSupported  = "not_supported"  // checked, but without effect yet
)

// Parse reads every playbook of a YAML or JSON text. The error, when there is one, is record.Problems: everything that is
// wrong in any of its documents. The playbooks returned with an error may only be passed to Unsupported. The file name is
// only used in messages.
func Parse(file string, data []byte) ([]*Playbook, error) {
	reader, roots := yamltree.Parse(file, data, record.MaxPlaybookText)
	if len(roots) == 0 && len(reader.Problems()) == 0 {
		return nil, record.Problems{{File: file, Line: 1, Column: 1, Code: yamltree.CodeMissing, Message: "the text contains no playbook"}}
	}
	w := &walk{Reader: reader}
	var playbooks []*Playbook
	names := map[string]int{}
	for _, root := range roots {
		p, name := w.playbook(root)
		if name.Given() {
			if line, twice := names[name.Text()]; twice {
				w.Add(name, yamltree.CodeDuplicate, "%s is already the name of the playbook at line %d", yamltree.Quote(name.Text()), line)
			} else {
				names[name.Text()] = name.Line()
			}
		}
		playbooks = append(playbooks, p)
	}
	if problems := w.Problems(); len(problems) > 0 {
		return playbooks, problems
	}
	return playbooks, nil
}

// Load compiles the spec of a playbook's Document. The error, when it is record.Problems, has no lines and columns. A spec with
// keys that have no effect yet is refused: a run would go without its guard.
func Load(spec record.Document) (*Spec, error) {
	loaded, unsupported, err := load(spec)
	if err == nil && len(unsupported) > 0 {
		return nil, unsupported
	}
	return loaded, err
}

func load(spec record.Document) (loaded *Spec, unsupported record.Problems, err error) {
	reader, root, err := yamltree.Load(map[string]any(spec))
	if err != nil {
		return nil, nil, fmt.Errorf("read the spec of a playbook: %w", err)
	}
	if !root.Given() {
		return nil, nil, reader.Problems()
	}
	w := &walk{Reader: reader}
	loaded = w.spec(root.At("spec"))
	if problems := w.Problems(); len(problems) > 0 {
		return nil, nil, problems
	}
	return loaded, yamltree.Tidy(w.unsupported), nil
}
