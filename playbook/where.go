package playbook

import (
	"fmt"

	"github.com/replicante-io/playbooks/record"
)

// Where compiles the expression that says for which nodes a run of the playbook is. It sees params, run, node and nodes.
func (s *Spec) Where(text string) (*Expr, record.Problems) {
	e, issues := newScope(s.Params, nil).compile(text, wantBool, 0)
	var problems record.Problems
	for _, i := range issues {
		problems = append(problems, record.Problem{Path: "where", Code: i.code,
			Message: fmt.Sprintf("where, character %d: %s", i.character+1, i.message)})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return e, nil
}
