package playbook

import (
	"github.com/replicante-io/playbooks/internal/yamltree"
)

// onFailure reads what happens when a stage has failed.
func (w *walk) onFailure(stage *object) OnFailure {
	policy := choice[OnFailure](stage, "on_failure")
	v := stage.Get("on_failure")
	switch {
	case policy == FailureRollback && !stage.Given("rollback"):
		w.Add(v, yamltree.CodeMissing, "rollback requires rollback steps; add a rollback list to the stage")
	case policy == FailureRollbackRun && !w.rollback:
		w.Add(v, yamltree.CodeMissing, "rollback_run requires rollback steps; add a rollback list to this stage or to one before it")
	}
	return policy
}

// always checks a stage that runs at the end of the run, whatever happened: nothing may keep it from running, and there is nothing after it that
// could be stopped.
func (w *walk) always(o *object, s *Stage) {
	for _, key := range []string{"rollback", "pick", "guard", "approval"} {
		v := o.Get(key)
		if !v.Given() || key == "approval" && s.Approval == nil {
			continue
		}
		w.Add(o.Key(key), yamltree.CodeBadValue, "a stage with always runs whatever happened, and cannot have %s; remove it", key)
	}
	switch v := o.Get("on_failure"); {
	case !v.Given():
		s.OnFailure = FailureContinue
	case s.OnFailure != FailureAbort && s.OnFailure != FailureContinue:
		w.Add(v, yamltree.CodeBadValue, "must be continue or abort in a stage with always")
	}
}

// someStage checks that not all stages are those that run at the end.
func (w *walk) someStage(v yamltree.Value, stages []Stage) {
	for i := range stages {
		if !stages[i].Always {
			return
		}
	}
	if len(stages) > 0 {
		w.Add(v, yamltree.CodeBadValue, "a playbook needs a stage without always")
	}
}
