package record

import (
	"fmt"
	"strings"
)

// MaxPlaybookText is how many bytes a file of playbooks may have.
const MaxPlaybookText = 1 << 20

// Problem is one thing that is wrong with a playbook's text, where it is and what would be right.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line"`           // from 1; 0 for what is not in a text
	Column  int    `json:"column"`         // from 1, in characters
	Path    string `json:"path,omitempty"` // such as spec.stages[0].steps[1].action
	Code    string `json:"code"`           // stable: see the reference
	Message string `json:"message"`
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.Message
	}
	file := p.File
	if file == "" {
		file = "playbook"
	}
	return fmt.Sprintf("%s:%d:%d: %s", file, p.Line, p.Column, p.Message)
}

// Problems is everything that is wrong with a text, in the order of its lines.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}
