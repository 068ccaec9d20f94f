package playbook

import (
	"slices"

	"github.com/replicante-io/playbooks/internal/spelling"
	"github.com/replicante-io/playbooks/internal/yamltree"
)

// TogetherWith are the stages that run together with the stage of that name, in their order; nil where none do.
func (s *Spec) TogetherWith(stage string) []string {
	for _, group := range s.Together {
		if slices.Contains(group, stage) {
			return group
		}
	}
	return nil
}

// together reads which stages run together: lists of stages that follow one another.
func (w *walk) together(v yamltree.Value, stages []Stage) (together [][]string) {
	if !v.Given() {
		return nil
	}
	grouped := map[string]bool{}
	w.list(v, togetherValue, func(_ int, v yamltree.Value) {
		if !v.IsList() {
			w.WrongType(v, "a list of stages that follow one another, such as [[stop, promote]]")
			return
		}
		var group []string
		before := -1
		w.list(v, consecutiveValue, func(_ int, v yamltree.Value) {
			name, ok := w.String(v, maxName)
			if !ok {
				return
			}
			at := slices.IndexFunc(stages, func(s Stage) bool { return s.Name == name })
			switch {
			case at < 0:
				w.unknownStage(v, name, stages)
				return
			case grouped[name]:
				w.Add(v, yamltree.CodeDuplicate, "stage %s is already in a list; a stage can be in one only", yamltree.Quote(name))
			case before >= 0 && at != before+1:
				w.Add(v, yamltree.CodeBadValue, "must be the stage that follows %s, not %s; list the stages in their order, without gaps",
					yamltree.Quote(stages[before].Name), yamltree.Quote(name))
			case stages[at].Always:
				w.Add(v, yamltree.CodeBadValue, "stage %s always runs at the end of the run; it cannot run together with others", yamltree.Quote(name))
			case before >= 0 && stages[at].Approval != nil:
				w.Add(v, yamltree.CodeBadValue, "stage %s has an approval, but nothing waits between stages that run together; only the first of them can have one",
					yamltree.Quote(name))
			}
			before, grouped[name] = at, true
			group = append(group, name)
		})
		if len(v.Items()) == 1 {
			w.Add(v, yamltree.CodeBadValue, "must be at least two stages")
		}
		together = append(together, group)
	})
	return together
}

func (w *walk) unknownStage(v yamltree.Value, name string, stages []Stage) {
	names := make([]string, len(stages))
	for i := range stages {
		names[i] = stages[i].Name
	}
	hint := ""
	if near := spelling.Nearest(name, names); near != "" {
		hint = "; did you mean " + near + "?"
	}
	w.Add(v, yamltree.CodeBadValue, "there is no stage %s%s", yamltree.Quote(name), hint)
}
