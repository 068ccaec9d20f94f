package playbook

import (
	"strings"
	"time"

	"github.com/replicante-io/playbooks/internal/calendar"
	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
)

// Schedule is a document of kind Schedule.
type Schedule struct {
	Name   string
	Labels map[string]string
	Spec   record.ScheduleSpec
	// KeepSuspended is true where the document does not say whether the schedule is suspended.
	KeepSuspended bool

	places map[string]record.Problem // where values of the spec are, by their paths in it
}

// schedule reads a document. It also returns the value of the schedule's name, if that is valid.
func (w *walk) schedule(root yamltree.Value) (s *Schedule, name yamltree.Value) {
	s = &Schedule{places: map[string]record.Problem{}}
	o, _ := w.Object(root, scheduleKeys)
	w.constant(o, "apiVersion")
	w.constant(o, "kind")
	if v := o.Get("metadata"); v.Given() {
		s.Name, s.Labels, name = w.nameAndLabels(v, scheduleMetadataKeys)
	}
	if v := o.Get("spec"); v.Given() {
		w.scheduleSpec(v, s)
	}
	o.End()
	return s, name
}

func (w *walk) scheduleSpec(v yamltree.Value, s *Schedule) {
	o, ok := w.Object(v, scheduleSpecKeys)
	if !ok {
		return
	}
	defer o.End()
	spec := &s.Spec
	playbook := o.Get("playbook")
	spec.Playbook, _ = w.dnsName(playbook)
	s.place(w, "playbook", playbook)
	if v := o.Get("revision"); v.Given() {
		spec.Revision = int64(o.Int("revision"))
		s.place(w, "revision", v)
	}
	spec.Cluster = w.clusterID(o.Get("cluster"))
	if v := o.Get("params"); v.Given() {
		spec.Params = w.scheduleParams(v, s)
	}
	where := o.Get("where")
	spec.Where, _ = o.Text("where")
	s.place(w, "where", where)

	spec.TimeZone = time.UTC.String()
	zone := o.Get("time_zone")
	w.cron(o.Get("cron"), w.timeZone(zone))
	if v := o.Get("cron"); v.IsString() {
		spec.Cron = strings.TrimSpace(v.Text())
	}
	if zone.IsString() {
		spec.TimeZone = zone.Text()
	}
	spec.StartWithin = yamltree.FormatDuration(o.Duration("start_within"))
	spec.IfRunning = choice[record.IfRunning](o, "if_running")
	spec.Suspended = o.Bool("suspended")
	s.KeepSuspended = !o.Given("suspended")
}

// place notes where a value is.
func (s *Schedule) place(w *walk, path string, v yamltree.Value) {
	if v.Given() {
		s.places[path] = w.Problem(v, "", "")
	}
}

// scheduleParams reads values of params: their types are known once the playbook is.
func (w *walk) scheduleParams(v yamltree.Value, s *Schedule) record.Document {
	s.place(w, "params", v)
	o, ok := w.Reader.Object(v)
	if !ok {
		return nil
	}
	w.CheckUntyped(v)
	params := record.Document{}
	for _, name := range o.Keys() {
		s.place(w, "params."+name, o.Untyped(name))
		params[name] = o.Untyped(name).Decode()
	}
	return params
}

func (w *walk) clusterID(v yamltree.Value) string {
	text, ok := w.String(v, maxClusterID)
	if ok && (text == "." || text == ".." || !clusterID.MatchString(text)) {
		w.Add(v, yamltree.CodeBadValue, "%s is not a valid cluster; use letters (a to z), digits, ., _ and -", yamltree.Quote(text))
	}
	return text
}

// Check returns what is wrong with the schedule where spec is that of the playbook which it starts.
func (s *Schedule) Check(spec *Spec) record.Problems {
	_, problems := spec.BindParams(s.Spec.Params)
	if s.Spec.Where != "" {
		_, wrong := spec.Where(s.Spec.Where)
		problems = append(problems, wrong...)
	}
	for i := range problems {
		problems[i] = s.at(problems[i])
	}
	return problems
}

// UnknownPlaybook is the problem that the playbook, or its revision, does not exist.
func (s *Schedule) UnknownPlaybook() record.Problem {
	p := record.Problem{Path: "playbook", Code: codeUnknownPlaybook,
		Message: "playbook: there is no playbook " + yamltree.Quote(s.Spec.Playbook) + "; apply it first, or together with the schedule"}
	if s.Spec.Revision != 0 {
		p.Path, p.Message = "revision", "revision: there is no such revision of playbook "+yamltree.Quote(s.Spec.Playbook)+
			"; leave it out to start the latest"
	}
	return s.at(p)
}

// UnusablePlaybook is the problem that this version cannot run the playbook as it is stored.
func (s *Schedule) UnusablePlaybook(why record.Problems) record.Problem {
	return s.at(record.Problem{Path: "playbook", Code: codeNotSupported, Message: "playbook: " + yamltree.Quote(s.Spec.Playbook) +
		" needs what this version does not know: " + why.Error()})
}

// at gives a problem its place, that of what the value is in where it has none.
func (s *Schedule) at(p record.Problem) record.Problem {
	place, found := s.places[p.Path]
	if !found {
		if place, found = s.places["params"]; !found || !strings.HasPrefix(p.Path, "params.") {
			place = s.places["playbook"]
		}
	}
	p.File, p.Line, p.Column = place.File, place.Line, place.Column
	p.Path = "spec." + p.Path
	return p
}

// CronOf is the cron expression of a schedule or window that was checked when it was applied, in its time zone.
func CronOf(text, timeZone string) (*calendar.Cron, error) {
	zone, err := calendar.ParseZone(timeZone)
	if err != nil {
		return nil, err
	}
	return calendar.ParseCron(text, zone)
}
