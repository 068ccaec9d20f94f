package playbook

import (
	"fmt"
	"strings"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// The codes of problems that only these documents have, beside those of yamltree. They are stable: programs may rely on them.
const (
	codeUnknownParam  = "unknown_param"  // a param that is not declared
	codeBadExpression = "bad_expression" // an expression or a template that does not compile

	codeNotSupported    = "not_supported"    // the playbook of a schedule, stored by another version, has what this one does not know
	codeUnknownPlaybook = "unknown_playbook" // a schedule names a playbook, or a revision of it, that does not exist
)

// Documents are what a text contains, of each kind in its order.
type Documents struct {
	Playbooks []*Playbook
	Schedules []*Schedule
	Freezes   []*Freeze
}

// ParseDocuments reads every document of a YAML or JSON text. The error, when there is one, is record.Problems: everything that is
// wrong in any of them. The file name is only used in messages.
func ParseDocuments(file string, data []byte) (Documents, error) {
	reader, roots := yamltree.Parse(file, data, record.MaxPlaybookText)
	if len(roots) == 0 && len(reader.Problems()) == 0 {
		return Documents{}, record.Problems{{File: file, Line: 1, Column: 1, Code: yamltree.CodeMissing,
			Message: "the text contains no playbook, schedule or freeze"}}
	}
	w := &walk{Reader: reader}
	var documents Documents
	lines := map[string]int{} // by kind and name
	for _, root := range roots {
		kind, name := w.document(root, &documents)
		if !name.Given() {
			continue
		}
		key := strings.ToLower(kind) + " " + name.Text()
		if line, twice := lines[key]; twice {
			w.Add(name, yamltree.CodeDuplicate, "%s is already the name of the %s at line %d", yamltree.Quote(name.Text()), strings.ToLower(kind), line)
		} else {
			lines[key] = name.Line()
		}
	}
	if problems := w.Problems(); len(problems) > 0 {
		return Documents{}, problems
	}
	return documents, nil
}

// Parse is ParseDocuments for the playbooks of a text.
func Parse(file string, data []byte) ([]*Playbook, error) {
	documents, err := ParseDocuments(file, data)
	return documents.Playbooks, err
}

// document reads a document of any kind. It also returns the value of its name, if that is valid.
func (w *walk) document(root yamltree.Value, documents *Documents) (kind string, name yamltree.Value) {
	if v := root.Child("kind"); v.IsString() {
		kind = v.Text()
	}
	switch kind {
	case kindSchedule:
		s, name := w.schedule(root)
		documents.Schedules = append(documents.Schedules, s)
		return kind, name
	case kindFreeze:
		f, name := w.freeze(root)
		documents.Freezes = append(documents.Freezes, f)
		return kind, name
	}
	p, name := w.playbook(root)
	documents.Playbooks = append(documents.Playbooks, p)
	return kindPlaybook, name
}

// Load compiles the spec of a playbook's Document. The error, when it is record.Problems, has no lines and columns.
func Load(spec record.Document) (*Spec, error) {
	reader, root, err := yamltree.Load(map[string]any(spec))
	if err != nil {
		return nil, fmt.Errorf("read the spec of a playbook: %w", err)
	}
	if !root.Given() {
		return nil, reader.Problems()
	}
	w := &walk{Reader: reader}
	loaded := w.spec(root.At("spec"))
	if problems := w.Problems(); len(problems) > 0 {
		return nil, problems
	}
	return loaded, nil
}
