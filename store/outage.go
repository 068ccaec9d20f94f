package store

import (
	"fmt"
	"time"
)

// WaitsFor says in plain words what waits for a store that has not answered since this moment, and why.
func WaitsFor(since time.Time, why error) string {
	text := "the primary store: it has not answered since " + since.UTC().Format(time.RFC3339) + "; this goes on by itself once it does"
	if why != nil {
		text += fmt.Sprintf(" (%s)", shorten(why.Error()))
	}
	return text
}

const maxWhy = 300

func shorten(text string) string {
	if runes := []rune(text); len(runes) > maxWhy {
		return string(runes[:maxWhy-1]) + "…"
	}
	return text
}
