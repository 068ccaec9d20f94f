package controller

import (
	"path"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/internal/calendar"
	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

// freezes are those that are stored, for the leader's decisions.
type freezes struct {
	mu     sync.RWMutex // no other lock is taken under it
	byName map[string]freeze
}

type freeze struct {
	record record.Freeze
	period calendar.Period
}

// set makes all freezes known, in the place of those before.
func (f *freezes) set(all []record.Freeze) {
	f.mu.Lock()
	f.byName = map[string]freeze{}
	f.mu.Unlock()
	for i := range all {
		f.put(all[i])
	}
}

// put makes a freeze known. One whose times this version cannot read holds always.
func (f *freezes) put(stored record.Freeze) {
	period, err := playbook.PeriodOf(&stored.Spec)
	if err != nil {
		period = calendar.Period{From: &stored.CreatedTS}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byName == nil {
		f.byName = map[string]freeze{}
	}
	f.byName[stored.Name] = freeze{record: stored, period: period}
}

func (f *freezes) remove(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byName, name)
}

// holding is the freeze of a cluster that holds at a time and ends last, with its end, nil for never; false where none holds.
func (f *freezes) holding(cluster string, at time.Time) (held record.Freeze, until *time.Time, found bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, one := range f.byName {
		if !covers(&one.record, cluster) || !one.period.Holds(at) {
			continue
		}
		ends := one.period.Ends(at)
		later := until != nil && (ends == nil || ends.After(*until))
		sameEnd := (until == nil) == (ends == nil) && (ends == nil || ends.Equal(*until))
		if !found || later || sameEnd && one.record.Name < held.Name {
			held, until, found = one.record, ends, true
		}
	}
	return held, until, found
}

// covers reports whether a freeze is for a cluster.
func covers(freeze *record.Freeze, cluster string) bool {
	for _, pattern := range freeze.Spec.Clusters {
		if matched, err := path.Match(pattern, cluster); err == nil && matched { // ids of clusters have no slash
			return true
		}
	}
	return false
}

// checkFreeze rejects the start of a run in a cluster that is frozen, unless the request overrides that. The event says which freeze was
// overridden; nil where none was.
func (t *term) checkFreeze(start record.RunRequest) (overridden *record.Event, err error) {
	held, until, found := t.freezes.holding(start.Cluster, t.wall())
	if !found && !start.OverrideFreeze {
		return nil, nil
	}
	data := record.Document{}
	if found {
		data["freeze"] = held.Name
		if held.Spec.Reason != "" {
			data["why"] = held.Spec.Reason
		}
		if until != nil {
			data["until"] = until.UTC().Format(time.RFC3339)
		}
	}
	if !start.OverrideFreeze {
		data["cluster"] = start.Cluster
		return nil, &record.RejectedError{Code: record.CodeFrozen, Data: data}
	}
	if start.Reason != "" {
		data["reason"] = start.Reason
	}
	return &record.Event{Type: record.EventFreezeOverridden, Data: data}, nil
}
