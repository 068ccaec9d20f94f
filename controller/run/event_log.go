package run

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/record"
)

// logEvents reports what happened in about one line per batch.
func logEvents(log hclog.Logger, events []record.Event) {
	for i := range events {
		e := &events[i]
		switch e.Type {
		case record.EventRunStarted, record.EventRunPausing, record.EventRunPaused, record.EventRunResumed, record.EventRunRetried, record.EventRunCancelling,
			record.EventRunFinished, record.EventStageStarted, record.EventStageFinished, record.EventRunClaimed,
			record.EventRunRollingBack, record.EventRunRolledBack:
			log.Info("run event", pairs(e, "type", string(e.Type), "stage", e.Stage)...)
		case record.EventBatchStarted:
			log.Info("run event", "type", string(e.Type), "stage", e.Stage, "batch", e.Data["batch"], "size", e.Data["size"])
		case record.EventRunRollbackFailed:
			log.Error("run event", pairs(e, "type", string(e.Type), "stage", e.Stage)...)
		case record.EventActionFailed, record.EventActionUnknown:
			log.Warn("run event", pairs(e, "type", string(e.Type), "node", e.Node, "stage", e.Stage, "step", e.Step)...)
		}
	}
}

func pairs(e *record.Event, with ...string) []any {
	var args []any
	for i := 0; i < len(with); i += 2 {
		if with[i+1] != "" {
			args = append(args, with[i], with[i+1])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		if key != "nodes" {
			args = append(args, key, logged(e.Data[key]))
		}
	}
	return args
}

// logged is a value of an event's data for the log: an object or a list is JSON in every format of the log.
func logged(value any) any {
	switch value.(type) {
	case map[string]any, record.Document, []any:
		return loggedJSON{value}
	}
	return value
}

type loggedJSON struct{ value any }

func (l loggedJSON) MarshalJSON() ([]byte, error) { return json.Marshal(l.value) }

func (l loggedJSON) String() string {
	text, err := l.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	return string(text)
}
