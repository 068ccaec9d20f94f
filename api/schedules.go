package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

func (s *server) registerSchedules() {
	register(s, huma.Operation{OperationID: "list-schedules", Method: http.MethodGet, Path: "/schedules",
		Summary: "List the schedules by name"}, s.schedules)
	register(s, huma.Operation{OperationID: "get-schedule", Method: http.MethodGet, Path: "/schedules/{name}",
		Summary: "Get a schedule, with its next due time and what became of the last ones"}, s.schedule)
	register(s, write(huma.Operation{OperationID: "delete-schedule", Method: http.MethodDelete, Path: "/schedules/{name}",
		Summary: "Delete a schedule; runs that it has started go on"}), s.deleteSchedule)
	register(s, write(huma.Operation{OperationID: "suspend-schedule", Method: http.MethodPost, Path: "/schedules/{name}/suspend",
		Summary: "Suspend a schedule: it starts no run until it is resumed"}), s.suspend(true))
	register(s, write(huma.Operation{OperationID: "resume-schedule", Method: http.MethodPost, Path: "/schedules/{name}/resume",
		Summary: "Resume a suspended schedule; what it has missed meanwhile is not made up"}), s.suspend(false))
	register(s, huma.Operation{OperationID: "list-freezes", Method: http.MethodGet, Path: "/freezes",
		Summary: "List the freezes by name"}, s.freezes)
	register(s, huma.Operation{OperationID: "get-freeze", Method: http.MethodGet, Path: "/freezes/{name}",
		Summary: "Get a freeze"}, s.freeze)
	register(s, write(huma.Operation{OperationID: "delete-freeze", Method: http.MethodDelete, Path: "/freezes/{name}",
		Summary: "Delete a freeze"}), s.deleteFreeze)
}

// checkSchedules finds what is wrong with the schedules of an upload where they start playbooks, of the upload or stored before.
func (s *server) checkSchedules(ctx context.Context, up *uploaded) (problems record.Problems, err error) {
	for _, schedule := range up.schedules {
		spec, err := s.specOf(ctx, up, schedule)
		var wrong record.Problems
		switch {
		case errors.Is(err, store.ErrNotFound):
			problems = append(problems, schedule.UnknownPlaybook())
		case errors.As(err, &wrong):
			problems = append(problems, schedule.UnusablePlaybook(wrong))
		case err != nil:
			return nil, err
		default:
			problems = append(problems, schedule.Check(spec)...)
		}
	}
	return problems, nil
}

// specOf is the spec of the playbook that a schedule starts. The upload's is its next revision.
func (s *server) specOf(ctx context.Context, up *uploaded, schedule *playbook.Schedule) (*playbook.Spec, error) {
	name, number := schedule.Spec.Playbook, schedule.Spec.Revision
	own := up.playbooks[name]
	if own != nil && number == 0 {
		return own.Spec, nil
	}
	stored, err := s.Store.Playbook(ctx, name, number)
	if own != nil && errors.Is(err, store.ErrNotFound) {
		latest, latestErr := s.Store.Playbook(ctx, name, 0)
		if latestErr != nil && !errors.Is(latestErr, store.ErrNotFound) {
			return nil, fmt.Errorf("read playbook %s: %w", name, latestErr)
		}
		if number == latest.Revision+1 && revision(own).Digest != latest.Digest {
			return own.Spec, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read playbook %s: %w", name, err)
	}
	return playbook.Load(stored.Spec)
}

func (s *server) schedules(ctx context.Context, in *PageInput) (*listOutput[record.Schedule], error) {
	items, next, err := readPage(in.page(), func(page store.Page) ([]record.Schedule, string, error) {
		return s.Store.Schedules(ctx, page)
	})
	return list(withTexts(items, scheduleWithTexts), next, err)
}

type nameInput struct {
	Name string `path:"name"`
}

// noSchedule and noFreeze name what does not exist where err is that.
func noSchedule(name string, err error) error { return noDocument("schedule", name, err) }
func noFreeze(name string, err error) error   { return noDocument("freeze", name, err) }

func noDocument(kind, name string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fail(http.StatusNotFound, "not_found", fmt.Sprintf("there is no %s %q", kind, name))
	}
	return err
}

func (s *server) schedule(ctx context.Context, in *nameInput) (*oneOutput[record.Schedule], error) {
	found, err := s.Store.Schedule(ctx, in.Name)
	return &oneOutput[record.Schedule]{Body: scheduleWithTexts(found)}, noSchedule(in.Name, err)
}

func (s *server) deleteSchedule(ctx context.Context, in *nameInput) (*struct{}, error) {
	c, err := s.leading()
	if err != nil {
		return nil, err
	}
	if err := c.DeleteSchedule(ctx, requestOf(ctx), in.Name); err != nil {
		return nil, s.problemOfWrite(ctx, noSchedule(in.Name, err))
	}
	s.Log.Info("schedule deleted", "schedule", in.Name, "actor", requestOf(ctx).Actor)
	return nil, nil
}

func (s *server) suspend(suspended bool) func(context.Context, *nameInput) (*oneOutput[record.Schedule], error) {
	return func(ctx context.Context, in *nameInput) (*oneOutput[record.Schedule], error) {
		c, err := s.leading()
		if err != nil {
			return nil, err
		}
		if err := c.Suspend(ctx, requestOf(ctx), in.Name, suspended); err != nil {
			return nil, s.problemOfWrite(ctx, noSchedule(in.Name, err))
		}
		s.Log.Info("schedule suspended or resumed", "schedule", in.Name, "suspended", suspended, "actor", requestOf(ctx).Actor)
		return s.schedule(ctx, in)
	}
}

// scheduleWithTexts is a schedule with its next due time and the texts for people.
func scheduleWithTexts(schedule record.Schedule) record.Schedule {
	schedule.Results = slices.Clone(schedule.Results)
	for i := range schedule.Results {
		if reason := schedule.Results[i].Reason; reason != nil {
			schedule.Results[i].Reason = &record.Error{Code: reason.Code, Message: scheduleReasonText(reason), Data: reason.Data}
		}
	}
	if !schedule.Spec.Suspended {
		schedule.NextTS = nextDue(&schedule, record.Now())
	}
	return schedule
}

// nextDue is the next due time of a schedule; one that has come is about to be decided.
func nextDue(schedule *record.Schedule, now time.Time) *time.Time {
	cron, err := playbook.CronOf(schedule.Spec.Cron, schedule.Spec.TimeZone)
	if err != nil {
		return nil
	}
	if schedule.SinceTS.After(now) {
		now = schedule.SinceTS
	}
	next, found := cron.Next(now)
	if !found {
		return nil
	}
	return &next
}

func (s *server) freezes(ctx context.Context, in *PageInput) (*listOutput[record.Freeze], error) {
	items, next, err := readPage(in.page(), func(page store.Page) ([]record.Freeze, string, error) {
		return s.Store.Freezes(ctx, page)
	})
	return list(items, next, err)
}

func (s *server) freeze(ctx context.Context, in *nameInput) (*oneOutput[record.Freeze], error) {
	found, err := s.Store.Freeze(ctx, in.Name)
	return &oneOutput[record.Freeze]{Body: found}, noFreeze(in.Name, err)
}

func (s *server) deleteFreeze(ctx context.Context, in *nameInput) (*struct{}, error) {
	c, err := s.leading()
	if err != nil {
		return nil, err
	}
	if err := c.DeleteFreeze(ctx, requestOf(ctx), in.Name); err != nil {
		return nil, s.problemOfWrite(ctx, noFreeze(in.Name, err))
	}
	s.Log.Info("freeze deleted", "freeze", in.Name, "actor", requestOf(ctx).Actor)
	return nil, nil
}
