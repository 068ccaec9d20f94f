package calendar

import "time"

// Window opens at each time of Cron and stays open for For.
type Window struct {
	Cron *Cron
	For  time.Duration
}

// Windows are open while one of them is. They may overlap.
type Windows []Window

// maxSteps bounds the search for the end of windows that follow each other without a gap.
const maxSteps = 1000

// Open reports whether a window is open. A window is open at the moment at which it opens, and not at the one at which it closes.
func (ws Windows) Open(at time.Time) bool {
	for _, w := range ws {
		if opened, found := w.Cron.Next(at.Add(-w.For)); found && !opened.After(at) {
			return true
		}
	}
	return false
}

// Opens is when the next window opens after a moment at which none is open.
func (ws Windows) Opens(after time.Time) (opens time.Time, found bool) {
	for _, w := range ws {
		if next, ok := w.Cron.Next(after); ok && (!found || next.Before(opens)) {
			opens, found = next, true
		}
	}
	return opens, found
}

// Closes is the end of the time for which windows are open without a gap, from a moment at which one is. Where that is too far
// away, it is a moment before.
func (ws Windows) Closes(from time.Time) time.Time {
	end := from
	for range maxSteps {
		last := end
		for _, w := range ws {
			if opened, found := w.lastOpening(last); found && opened.Add(w.For).After(end) {
				end = opened.Add(w.For)
			}
		}
		if end.Equal(last) {
			break
		}
	}
	return end
}

// lastOpening is the last time at which a window that is open at a moment has opened.
func (w Window) lastOpening(at time.Time) (opened time.Time, found bool) {
	low, high := at.Add(-w.For), at
	if opened, found = w.Cron.Next(low); !found || opened.After(at) {
		return time.Time{}, false
	}
	for high.Sub(low) > time.Minute {
		middle := low.Add(high.Sub(low) / 2)
		if next, ok := w.Cron.Next(middle); ok && !next.After(at) {
			low, opened = middle, next
		} else {
			high = middle
		}
	}
	for next, ok := w.Cron.Next(opened); ok && !next.After(at); next, ok = w.Cron.Next(opened) {
		opened = next
	}
	return opened, true
}

// Period is a time of the calendar: from From until To or, where they are nil, while Windows are open.
type Period struct {
	From, To *time.Time
	Windows  Windows
}

// Holds reports whether a moment is in the period.
func (p Period) Holds(at time.Time) bool {
	if p.From != nil || p.To != nil {
		return (p.From == nil || !at.Before(*p.From)) && (p.To == nil || at.Before(*p.To))
	}
	return p.Windows.Open(at)
}

// Ends is when a period that holds ends; nil for never.
func (p Period) Ends(at time.Time) *time.Time {
	if p.From != nil || p.To != nil {
		return p.To
	}
	end := p.Windows.Closes(at)
	return &end
}

// Begins is when a period that does not hold begins next; nil for never.
func (p Period) Begins(after time.Time) *time.Time {
	if p.From != nil || p.To != nil {
		if p.From != nil && p.From.After(after) {
			return p.From
		}
		return nil
	}
	if opens, found := p.Windows.Opens(after); found {
		return &opens
	}
	return nil
}
