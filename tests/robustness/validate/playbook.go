package validate

import (
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Spec is the part of a playbook that the rules need, as its author wrote it.
type Spec struct {
	Concurrency string      `bson:"concurrency"`
	Stages      []StageSpec `bson:"stages"`
}

// StageSpec is a stage of a playbook.
type StageSpec struct {
	Name        string     `bson:"name"`
	Batch       any        `bson:"batch"`
	MaxFailures any        `bson:"max_failures"`
	OnFailure   string     `bson:"on_failure"`
	Steps       []StepSpec `bson:"steps"`
}

// StepSpec is a step of a stage.
type StepSpec struct {
	Name  string `bson:"name"`
	Retry struct {
		Attempts int `bson:"attempts"`
	} `bson:"retry"`
	OnUnknown string `bson:"on_unknown"`
	Timeout   string `bson:"timeout"`
}

func (r *Run) exclusive() bool { return r.Playbook.Spec.Concurrency != "shared" }

// size is how many nodes a batch (from 1) of a stage of total nodes may have.
func (s *StageSpec) size(batch, total int) int {
	amount := s.Batch
	if list, ok := amount.(bson.A); ok && len(list) > 0 {
		amount = list[min(max(batch, 1), len(list))-1]
	}
	if amount == nil {
		return 1
	}
	return max(1, count(amount, total))
}

// failures is how many nodes of a stage of total nodes may fail.
func (s *StageSpec) failures(total int) int {
	if s.MaxFailures == nil {
		return 0
	}
	return count(s.MaxFailures, total)
}

// count reads a number, or a percentage, which is rounded down.
func count(amount any, total int) int {
	switch a := amount.(type) {
	case int32:
		return int(a)
	case int64:
		return int(a)
	case int:
		return a
	case float64:
		return int(a)
	case string:
		text, percent := strings.CutSuffix(a, "%")
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return 0
		}
		if percent {
			return n * total / 100
		}
		return n
	}
	return 0
}

// step finds a step of the run's playbook, with the index of its stage; nil if the playbook has none of this name.
func (r *Run) step(stage, step string) (index int, s *StepSpec) {
	for i := range r.Playbook.Spec.Stages {
		if st := &r.Playbook.Spec.Stages[i]; st.Name == stage {
			for j := range st.Steps {
				if st.Steps[j].Name == step {
					return i, &st.Steps[j]
				}
			}
		}
	}
	return 0, nil
}

// total is how many nodes the stage is for in all passes, and never more than the run has nodes.
func (h *history) total(r *Run, stage string) int {
	total := 0
	for i := range r.Stages {
		if r.Stages[i].Name == stage {
			total += r.Stages[i].Total
		}
	}
	return min(total, len(h.nodesOf[r.ID]))
}
