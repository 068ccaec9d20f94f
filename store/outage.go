package store

import (
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/internal/retry"
)

// Backoff spaces the tries of a call that failed with ErrUnavailable.
func Backoff() *retry.Backoff { return retry.New(50*time.Millisecond, time.Second) }

// OutageMessage describes, for people, a store that has not answered since this moment. err is what it failed with last, if
// anything.
func OutageMessage(since time.Time, err error) string {
	message := "the primary store has not answered since " + since.UTC().Format(time.RFC3339)
	if err != nil {
		message += fmt.Sprintf(": %s", shorten(err.Error()))
	}
	return message + "; work continues by itself when it answers again"
}

const maxErrorLength = 300 // characters

func shorten(text string) string {
	if runes := []rune(text); len(runes) > maxErrorLength {
		return string(runes[:maxErrorLength-1]) + "…"
	}
	return text
}
