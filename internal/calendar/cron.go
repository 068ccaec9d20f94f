// Package calendar says when recurring times come: those of a cron expression in a time zone, and windows that open at them.
//
// Nothing here reads a clock: every question names its moment. Every search is bounded. A program that uses the package has a
// database of time zones in it.
package calendar

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // a machine may have no database of time zones

	"github.com/robfig/cron/v3"
)

// searchDays bounds a search: February 29 comes after 8 years at most.
const searchDays = 9 * 366

// starBit is set by the parser in a field that is a star.
const starBit = 1 << 63

// Cron is a cron expression in a time zone. Times have full minutes.
//
// A time that does not exist, because clocks are put forward over it, comes once, right after the gap. One that exists twice, because clocks
// are put back, comes once, the first time. An expression whose hour is a star goes by hours that pass, as in Debian's cron: it comes
// in both of them, and not for an hour that is left out.
type Cron struct {
	spec cron.SpecSchedule
	zone *time.Location
}

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// What is wrong with a cron expression or a time zone.
var (
	ErrNever = errors.New("never comes")
	ErrZone  = errors.New("is not a known time zone; use a name such as Europe/Rome or UTC")
)

// ParseZone finds a time zone by its IANA name.
func ParseZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" { // Local is another zone on each machine
		return nil, ErrZone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, ErrZone
	}
	return zone, nil
}

// ParseCron reads an expression of five fields (minute, hour, day of month, month, day of week) or one of @hourly, @daily, @weekly, @monthly
// and @yearly.
func ParseCron(text string, zone *time.Location) (*Cron, error) {
	if strings.Contains(text, "TZ=") {
		return nil, errors.New("cannot name a time zone; use time_zone")
	}
	if strings.HasPrefix(strings.TrimSpace(text), "@every") {
		return nil, errors.New("cannot be @every: it has no times of its own; use five fields, such as */30 * * * *")
	}
	schedule, err := parser.Parse(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("is not a valid cron expression: %w", err)
	}
	spec, ok := schedule.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("is not a valid cron expression: use five fields")
	}
	c := &Cron{spec: *spec, zone: zone}
	if _, found := c.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); !found {
		return nil, ErrNever
	}
	return c, nil
}

// Next is the first time after another one. It is false where there is none for years.
func (c *Cron) Next(after time.Time) (time.Time, bool) {
	local := after.In(c.zone)
	// The day before, too: a time of it that does not exist may come after its end.
	first := time.Date(local.Year(), local.Month(), local.Day()-1, 0, 0, 0, 0, time.UTC)
	for i := range searchDays {
		day := first.AddDate(0, 0, i)
		if !c.matchesDay(day) {
			continue
		}
		if next, found := c.nextOn(day, after); found {
			return next.UTC(), true
		}
	}
	return time.Time{}, false
}

func (c *Cron) matchesDay(day time.Time) bool {
	if c.spec.Month&(1<<uint(day.Month())) == 0 {
		return false
	}
	ofMonth, ofWeek := c.spec.Dom&(1<<uint(day.Day())) != 0, c.spec.Dow&(1<<uint(day.Weekday())) != 0
	if c.spec.Dom&starBit != 0 || c.spec.Dow&starBit != 0 {
		return ofMonth && ofWeek
	}
	return ofMonth || ofWeek
}

// nextOn is the first time of a day that is after another time. Day has the date, at midnight in UTC.
func (c *Cron) nextOn(day, after time.Time) (time.Time, bool) {
	if c.spec.Hour&starBit != 0 {
		return c.nextMinute(day, after)
	}
	for hour := range 24 {
		if c.spec.Hour&(1<<uint(hour)) == 0 {
			continue
		}
		if last := day.Add(time.Duration(hour)*time.Hour + 59*time.Minute); !instant(last, c.zone).After(after) {
			continue
		}
		for minute := range 60 {
			if c.spec.Minute&(1<<uint(minute)) == 0 {
				continue
			}
			shown := day.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
			if at := instant(shown, c.zone); at.After(after) {
				return at, true
			}
		}
	}
	return time.Time{}, false
}

// nextMinute is nextOn where every hour that passes matches.
func (c *Cron) nextMinute(day, after time.Time) (time.Time, bool) {
	t, end := instant(day, c.zone), instant(day.AddDate(0, 0, 1), c.zone)
	if next := after.Truncate(time.Minute).Add(time.Minute); next.After(t) {
		t = next
	}
	for ; t.Before(end); t = t.Add(time.Minute) { // a minute that matches comes within some hours
		if c.spec.Minute&(1<<uint(t.In(c.zone).Minute())) != 0 {
			return t, true
		}
	}
	return time.Time{}, false
}

// instant is when clocks of a zone show a time for the first time or, where they never do, when they have gone past it. Shown is that
// time, as if it were in UTC.
func instant(shown time.Time, zone *time.Location) time.Time {
	const most = 26 * time.Hour // no zone is that far from UTC
	t := shown.Add(-most).In(zone)
	for {
		start, end := t.ZoneBounds()
		_, offset := t.Zone()
		at := shown.Add(-time.Duration(offset) * time.Second)
		switch {
		case !start.IsZero() && at.Before(start):
			return start
		case end.IsZero() || at.Before(end):
			return at
		}
		t = end.In(zone)
	}
}
