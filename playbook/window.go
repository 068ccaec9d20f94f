package playbook

import (
	"errors"
	"time"

	"github.com/replicante-io/playbooks/internal/calendar"
	"github.com/replicante-io/playbooks/internal/yamltree"
)

// windows reads a list of times at which something is open. Without a time zone they are in UTC.
func (w *walk) windows(v yamltree.Value) calendar.Windows {
	var windows calendar.Windows
	if !v.Given() {
		return nil
	}
	w.list(v, windowsValue, func(_ int, v yamltree.Value) {
		o, ok := w.Object(v, windowKeys)
		if !ok {
			return
		}
		defer o.End()
		zone := w.timeZone(o.Get("time_zone"))
		cron := w.cron(o.Get("cron"), zone)
		length := o.Duration("for")
		if cron != nil && length > 0 {
			windows = append(windows, calendar.Window{Cron: cron, For: length})
		}
	})
	return windows
}

func (w *walk) timeZone(v yamltree.Value) *time.Location {
	if !v.Given() {
		return time.UTC
	}
	name, ok := w.String(v, maxLine)
	if !ok {
		return time.UTC
	}
	zone, err := calendar.ParseZone(name)
	if err != nil {
		w.Add(v, yamltree.CodeBadValue, "%s %s", yamltree.Quote(name), err)
		return time.UTC
	}
	return zone
}

func (w *walk) cron(v yamltree.Value, zone *time.Location) *calendar.Cron {
	text, ok := w.String(v, maxLine)
	if !ok {
		return nil
	}
	cron, err := calendar.ParseCron(text, zone)
	switch {
	case errors.Is(err, calendar.ErrNever):
		w.Add(v, yamltree.CodeBadValue, "%s never comes: there is no such day", yamltree.Quote(text))
	case err != nil:
		w.Add(v, yamltree.CodeBadValue, "%s %s", yamltree.Quote(text), err)
	}
	return cron
}
