package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/agent/wire"
)

// memoryJournal is a journal that is lost with its process. Entries that were written must not be changed.
type memoryJournal struct {
	name    string
	mu      sync.Mutex
	actions map[string]*entry // nil once purged
	ended   []*entry          // oldest first
}

func newMemoryJournal() *memoryJournal {
	return &memoryJournal{name: uuid.NewString(), actions: map[string]*entry{}}
}

func (j *memoryJournal) id() string { return j.name }

func (j *memoryJournal) terms() (map[string]int64, error) { return map[string]int64{}, nil }

func (j *memoryJournal) unfinished() ([]*entry, error) { return nil, nil }

func (j *memoryJournal) close() error { return nil }

func (j *memoryJournal) find(id string) (*entry, bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, known := j.actions[id]
	return e, known, nil
}

func (j *memoryJournal) finished(limit int) ([]wire.ActionSummary, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]wire.ActionSummary, 0, min(limit, len(j.ended)))
	for _, e := range slices.Backward(j.ended) {
		if len(list) == limit {
			break
		}
		list = append(list, e.summary())
	}
	return list, nil
}

func (j *memoryJournal) write(changes ...change) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range changes {
		if c.put == nil {
			continue
		}
		j.actions[c.put.Action.ID] = c.put
		if c.put.Action.State.Phase.Ended() {
			j.ended = append(j.ended, c.put)
		}
	}
	return nil
}

func (j *memoryJournal) purge(before time.Time, limit int) (dropped int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for dropped < min(limit, len(j.ended)) && j.ended[dropped].Action.FinishedTime.Before(before) {
		j.actions[j.ended[dropped].Action.ID] = nil
		dropped++
	}
	j.ended = slices.Delete(j.ended, 0, dropped)
	return dropped, nil
}
