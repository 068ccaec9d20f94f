package playbook

import (
	"fmt"
	"strings"

	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// Names are the documents found so far in several files, with the file of each.
type Names map[DocumentName]string

// DocumentName names a document. Documents of different kinds may have the same name.
type DocumentName struct{ Kind, Name string }

// Add notes a document of a file. It is a problem if another file has one of its kind and name; nil otherwise.
func (n Names) Add(file string, document DocumentName) *record.Problem {
	if other, twice := n[document]; twice {
		return &record.Problem{File: file, Line: 1, Column: 1, Path: "metadata.name", Code: yamltree.CodeDuplicate,
			Message: fmt.Sprintf("%s %s is also in %s: send each name once", strings.ToLower(document.Kind), document.Name, other)}
	}
	n[document] = file
	return nil
}
