package playbook

import (
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/internal/calendar"
	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// Freeze is a document of kind Freeze.
type Freeze struct {
	Name   string
	Labels map[string]string
	Spec   record.FreezeSpec
}

// freeze reads a document. It also returns the value of the freeze's name, if that is valid.
func (w *walk) freeze(root yamltree.Value) (f *Freeze, name yamltree.Value) {
	f = &Freeze{}
	o, _ := w.Object(root, freezeKeys)
	w.constant(o, "apiVersion")
	w.constant(o, "kind")
	if v := o.Get("metadata"); v.Given() {
		f.Name, f.Labels, name = w.nameAndLabels(v, freezeMetadataKeys)
	}
	if v := o.Get("spec"); v.Given() {
		f.Spec = w.freezeSpec(v)
	}
	o.End()
	return f, name
}

func (w *walk) freezeSpec(v yamltree.Value) record.FreezeSpec {
	var spec record.FreezeSpec
	o, ok := w.Object(v, freezeSpecKeys)
	if !ok {
		return spec
	}
	defer o.End()
	o.List("clusters", func(_ int, v yamltree.Value) {
		spec.Clusters = append(spec.Clusters, w.clusterPattern(v))
	})
	from, to := o.Get("from"), o.Get("to")
	spec.From, spec.To = w.time(from), w.time(to)
	if spec.From != nil && spec.To != nil && !spec.From.Before(*spec.To) {
		w.Add(to, yamltree.CodeBadValue, "must be later than from")
	}
	windows := o.Get("windows")
	w.windows(windows)
	switch {
	case windows.Given() && (from.Given() || to.Given()):
		w.Add(o.Key("windows"), yamltree.CodeBadValue, "cannot be given together with from and to; remove one of them, or make two freezes")
	case !windows.Given() && !from.Given() && !to.Given():
		w.Add(o.Key("from"), yamltree.CodeMissing, "is missing; write from, to or both, or windows")
	}
	spec.Windows = windowTexts(windows)
	spec.Reason, _ = o.Text("reason")
	return spec
}

// windowTexts are windows as they are stored. Those that are wrong were reported before.
func windowTexts(v yamltree.Value) []record.Window {
	var texts []record.Window
	for _, item := range v.Items() {
		text := func(key, otherwise string) string {
			if v := item.Child(key); v.IsString() {
				return v.Text()
			}
			return otherwise
		}
		texts = append(texts, record.Window{Cron: text("cron", ""), For: text("for", ""), TimeZone: text("time_zone", time.UTC.String())})
	}
	return texts
}

func (w *walk) clusterPattern(v yamltree.Value) string {
	text, ok := w.String(v, maxClusterID)
	if ok && !clusterPattern.MatchString(text) {
		w.Add(v, yamltree.CodeBadValue,
			"%s is not a valid pattern of clusters; use letters (a to z), digits, ., _ and -, * for any characters and ? for one", yamltree.Quote(text))
	} else if !ok && !v.IsString() {
		w.WrongType(v, "a string")
	}
	return text
}

// time reads a time with its offset from UTC, which need not be quoted. If v is not given, or wrong, it is nil.
func (w *walk) time(v yamltree.Value) *time.Time {
	if !v.Given() {
		return nil
	}
	if !v.IsString() {
		w.WrongType(v, "a time such as 2026-11-27T00:00:00Z")
		return nil
	}
	t, err := time.Parse(time.RFC3339, v.Text())
	if err != nil {
		w.Add(v, yamltree.CodeBadValue, "%s is not a valid time; write for example 2026-11-27T00:00:00Z or 2026-11-27T00:00:00+01:00", yamltree.Quote(v.Text()))
		return nil
	}
	t = record.Time(t)
	return &t
}

// PeriodOf is when a freeze that was checked when it was applied holds.
func PeriodOf(spec *record.FreezeSpec) (calendar.Period, error) {
	period := calendar.Period{From: spec.From, To: spec.To}
	for i := range spec.Windows {
		window := &spec.Windows[i]
		cron, err := CronOf(window.Cron, window.TimeZone)
		if err != nil {
			return period, fmt.Errorf("window %s: %w", window.Cron, err)
		}
		period.Windows = append(period.Windows, calendar.Window{Cron: cron, For: window.Length()})
	}
	return period, nil
}
