package calendar_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/internal/calendar"
)

func parse(t require, cron, zone string) *calendar.Cron {
	t.Helper()
	location, err := calendar.ParseZone(zone)
	if err != nil {
		t.Fatalf("%s %v", zone, err)
	}
	c, err := calendar.ParseCron(cron, location)
	if err != nil {
		t.Fatalf("%s %v", cron, err)
	}
	return c
}

type require interface {
	Helper()
	Fatalf(format string, args ...any)
}

func at(t require, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return parsed
}

func TestACronComesAtItsTimesAlsoWhenClocksChange(t *testing.T) {
	for _, c := range []struct{ cron, zone, after, want string }{
		{"0 22 * * *", "Europe/Rome", "2026-07-01T20:00:00Z", "2026-07-02T20:00:00Z 2026-07-03T20:00:00Z"},
		{"30 2 * * *", "Europe/Rome", "2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:30:00Z"}, // 02:30 does not exist
		{"*/15 2 * * *", "Europe/Rome", "2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:00:00Z"},
		{"30 2,3 * * *", "Europe/Rome", "2026-03-28T03:00:00Z", "2026-03-29T01:00:00Z 2026-03-29T01:30:00Z"},
		{"0 2,3 * * *", "Europe/Rome", "2026-03-28T03:00:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:00:00Z"},
		{"30 2 * * *", "Europe/Rome", "2026-10-24T01:00:00Z", "2026-10-25T00:30:00Z 2026-10-26T01:30:00Z"}, // 02:30 exists twice
		{"30 2 * * *", "Europe/Rome", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		{"0 * * * *", "Europe/Rome", "2026-10-24T23:30:00Z", "2026-10-25T00:00:00Z 2026-10-25T01:00:00Z 2026-10-25T02:00:00Z"},
		{"0 * * * *", "Europe/Rome", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z 2026-03-29T02:00:00Z"},
		{"0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", "2018-11-04T03:00:00Z 2018-11-05T02:00:00Z"}, // no midnight
		{"0 12 30 12 *", "Pacific/Apia", "2011-12-29T12:00:00Z", "2011-12-30T10:00:00Z"},                        // no such day
		{"15 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", "2026-04-04T14:15:00Z 2026-04-05T14:45:00Z"},
		{"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"0 0 1 * 1", "UTC", "2026-08-01T00:00:00Z", "2026-08-03T00:00:00Z"}, // a day of either
		{"@daily", "UTC", "2026-08-01T00:00:00Z", "2026-08-02T00:00:00Z"},
	} {
		cron, after := parse(t, c.cron, c.zone), at(t, c.after)
		for _, want := range strings.Fields(c.want) {
			got, found := cron.Next(after)
			if !found || got.Format(time.RFC3339) != want {
				t.Errorf("%s in %s after %s: %v, not %s", c.cron, c.zone, after, got, want)
			}
			after = got
		}
	}
}

func TestABadCronOrTimeZoneIsRefused(t *testing.T) {
	for _, text := range []string{"", "* * * *", "60 * * * *", "0 0 * * 8", ",  * * * *", "TZ=UTC", "CRON_TZ=UTC 0 0 * * *", "@every 5m",
		" @every 5m", "@fortnight", "0 0 30 2 *", "* * * * * *", "1-0 * * * *", "*/0 * * * *", "99999999999999999999 * * * *"} {
		if _, err := calendar.ParseCron(text, time.UTC); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
	if _, err := calendar.ParseCron("0 0 30 2 *", time.UTC); !errors.Is(err, calendar.ErrNever) {
		t.Error(err)
	}
	for _, zone := range []string{"", "Local", "Europe/Atlantis", "../UTC", "/etc/passwd"} {
		if _, err := calendar.ParseZone(zone); !errors.Is(err, calendar.ErrZone) {
			t.Errorf("%q: %v", zone, err)
		}
	}
}

// oracle finds what a cron with an hour does, minute by minute, as a clock on the wall shows it: it shows minutes from to, and those that
// it leaves out come with the first that follows.
type oracle struct {
	minutes, hours []int
	zone           *time.Location
}

func (o oracle) due(from, to time.Time) []time.Time {
	var due []time.Time
	shown := map[string]bool{}
	wall := func(t time.Time) time.Time {
		l := t.In(o.zone)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
	}
	last := wall(from.Add(-time.Minute))
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		now := wall(t)
		for w := last.Add(time.Minute); !w.After(now); w = w.Add(time.Minute) { // more than one where clocks are put forward
			if slices.Contains(o.minutes, w.Minute()) && slices.Contains(o.hours, w.Hour()) && !shown[w.String()] {
				shown[w.String()] = true
				if len(due) == 0 || !due[len(due)-1].Equal(t) {
					due = append(due, t)
				}
			}
		}
		last = now
	}
	return due
}

var changes = []struct{ zone, at string }{
	{"Europe/Rome", "2026-03-29T01:00:00Z"}, {"Europe/Rome", "2026-10-25T01:00:00Z"}, {"America/New_York", "2027-03-14T07:00:00Z"},
	{"America/New_York", "2027-11-07T06:00:00Z"}, {"Australia/Lord_Howe", "2026-04-04T15:00:00Z"}, {"Australia/Lord_Howe", "2026-10-03T15:30:00Z"},
	{"America/Sao_Paulo", "2018-11-04T03:00:00Z"}, {"Asia/Kathmandu", "2026-06-01T00:00:00Z"}, {"Pacific/Apia", "2011-12-30T10:00:00Z"},
	{"UTC", "2026-12-31T23:00:00Z"},
}

func TestACronComesWhenAClockOnTheWallShowsItsTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		change := rapid.SampledFrom(changes).Draw(t, "change")
		zone, err := calendar.ParseZone(change.zone)
		if err != nil {
			t.Fatal(err)
		}
		fields := func(name string, most int) []int {
			return rapid.SliceOfNDistinct(rapid.IntRange(0, most), 1, 3, rapid.ID[int]).Draw(t, name)
		}
		o := oracle{fields("minutes", 59), append(fields("hours", 23), rapid.IntRange(0, 3).Draw(t, "near")), zone}
		text := strings.ReplaceAll(strings.Trim(fmt.Sprint(o.minutes), "[]"), " ", ",") + " " + strings.ReplaceAll(strings.Trim(fmt.Sprint(o.hours), "[]"), " ", ",") + " * * *"
		cron := parse(t, text, change.zone)
		from := at(t, change.at).Add(-time.Duration(rapid.IntRange(60, 40*60).Draw(t, "before")) * time.Minute)
		to := from.Add(72 * time.Hour)
		var got []time.Time
		for next, found := cron.Next(from.Add(-time.Second)); found && next.Before(to); next, found = cron.Next(next) {
			got = append(got, next)
		}
		want := o.due(from.Add(-26*time.Hour), to) // what was shown before from does not come again
		want = slices.DeleteFunc(want, func(t time.Time) bool { return t.Before(from) })
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Fatalf("%s in %s from %s:\n%v, not\n%v", text, change.zone, from, got, want)
		}
	})
}

func TestWindowsAreOpenWhileOneOfThemIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(changes).Draw(t, "change")
		var windows calendar.Windows
		for range rapid.IntRange(1, 3).Draw(t, "windows") {
			text := rapid.SampledFrom([]string{"0 22 * * *", "30 2 * * *", "*/20 1-3 * * *", "0 */4 * * *", "15 0 * * 6,0"}).Draw(t, "cron")
			length := time.Duration(rapid.SampledFrom([]int{1, 20, 60, 240, 480, 1500}).Draw(t, "minutes")) * time.Minute
			windows = append(windows, calendar.Window{Cron: parse(t, text, zone.zone), For: length})
		}
		from := at(t, zone.at).Add(-time.Duration(rapid.IntRange(0, 30*60).Draw(t, "before")) * time.Minute)
		to := from.Add(48 * time.Hour)
		open := map[time.Time]bool{}
		for _, w := range windows {
			for next, found := w.Cron.Next(from.Add(-w.For)); found && next.Before(to); next, found = w.Cron.Next(next) {
				for m := next; m.Before(next.Add(w.For)); m = m.Add(time.Minute) {
					open[m] = true
				}
			}
		}
		for m := from; m.Before(to); m = m.Add(7 * time.Minute) {
			if got := windows.Open(m); got != open[m.UTC()] {
				t.Fatalf("open at %s: %t", m, got)
			}
		}
		turns := from
		for open[turns.UTC()] == open[from.UTC()] && turns.Before(to) {
			turns = turns.Add(time.Minute)
		}
		var got time.Time
		if open[from.UTC()] {
			got = windows.Closes(from)
		} else {
			got, _ = windows.Opens(from)
		}
		if turns.Before(to) && !got.Equal(turns) || !turns.Before(to) && got.Before(to) {
			t.Fatalf("from %s, open %t: turns at %s, not %s", from, open[from.UTC()], got, turns)
		}
	})
}

func TestTheEndOfWindowsThatNeverCloseIsSearchedWithABound(t *testing.T) {
	from := at(t, "2026-08-01T00:00:00Z")
	always := calendar.Windows{{Cron: parse(t, "* * * * *", "UTC"), For: 30 * 24 * time.Hour}, {Cron: parse(t, "* * * * *", "UTC"), For: time.Minute}}
	if end := always.Closes(from); !end.After(from) || !always.Open(end) {
		t.Error(end)
	}
}

func TestAPeriodHoldsFromItsBeginningUntilItsEnd(t *testing.T) {
	from, to := at(t, "2026-11-27T00:00:00Z"), at(t, "2026-11-30T00:00:00Z")
	p := calendar.Period{From: &from, To: &to}
	for text, want := range map[string]bool{"2026-11-26T23:59:59Z": false, "2026-11-27T00:00:00Z": true, "2026-11-29T23:59:59Z": true, "2026-11-30T00:00:00Z": false} {
		if p.Holds(at(t, text)) != want {
			t.Error(text)
		}
	}
	if end := p.Ends(from); end == nil || !end.Equal(to) {
		t.Error(end)
	}
	if begins := p.Begins(from.Add(-time.Hour)); begins == nil || !begins.Equal(from) {
		t.Error(begins)
	}
	if begins := p.Begins(to); begins != nil {
		t.Error(begins)
	}
}
