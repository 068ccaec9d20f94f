package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// explain says in plain words why the run is not moving. A change that an operator may have to do something about is an
// event too.
func (p *Plan) explain() {
	words, event := p.waitsFor()
	if words == p.run.WaitsFor {
		return
	}
	p.run.WaitsFor = words
	p.runDirty = true
	if event || p.saidWaiting {
		if !event {
			words = ""
		}
		p.saidWaiting = event
		p.event(record.EventRunWaiting, "", "", "", record.Document{"waits_for": words})
	}
}

func (p *Plan) waitsFor() (words string, event bool) {
	switch {
	case p.run.FinishTS != nil:
		if p.run.Unsettled > 0 {
			return fmt.Sprintf("the end of %d actions that nobody waits for", p.run.Unsettled), false
		}
		return "", false
	case p.run.State == record.RunPending && p.behind != "":
		return "run " + p.behind + " of the same cluster to end", true
	case p.run.State == record.RunPaused:
		words = "an operator: replictl run resume " + p.run.ID
		if p.run.Error != nil {
			words += " (" + p.run.Error.Message + ")"
		}
		return words, false
	}
	var parts []string
	if len(p.silent) > 0 {
		names := sortedKeys(p.silent)
		parts = append(parts, fmt.Sprintf("the agent of %s: %s", list(names), p.silent[names[0]]))
		event = true
	}
	if len(p.stuck) > 0 {
		parts = append(parts, fmt.Sprintf("another run's action on %s to end", list(sortedKeys(p.stuck))))
		event = true
	}
	if p.factsFor != "" {
		parts = append(parts, p.factsFor)
		event = event || p.started() && p.stage().FactsUntil != nil
	}
	if len(parts) == 0 && p.inFlight > 0 && p.started() {
		parts = append(parts, p.inFlightWords())
	}
	if len(parts) == 0 && p.started() && p.stage().PauseUntil != nil && p.now.Before(*p.stage().PauseUntil) {
		parts = append(parts, "the pause between batches to end at "+p.stage().PauseUntil.Format(time.TimeOnly))
	}
	return strings.Join(parts, "; "), event
}

// inFlightWords counts roughly, so that a busy run's words do not change with every answer.
func (p *Plan) inFlightWords() string {
	if p.run.State == record.RunPausing || p.run.Verdict != "" {
		return "the actions in flight to end"
	}
	return fmt.Sprintf("the actions of batch %d of stage %s", p.stage().Batch, p.stage().Name)
}

// list names at most three.
func list(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
