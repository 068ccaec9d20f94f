package rig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Began is one start of an action's command, as the command itself wrote it down.
type Began struct {
	At       time.Time
	ActionID string
	Node     string
	Term     int64
}

// RecordStart is the beginning of a shell command that writes down that it was started. The line is written by one write
// to a file that is only added to, before anything else happens.
func RecordStart(file string) string {
	return fmt.Sprintf(`echo "$(date +%%s.%%N) $REPLICANTE_ACTION_ID $REPLICANTE_NODE_ID $REPLICANTE_TERM" >> '%s'; `, file)
}

// History reads what RecordStart wrote; a file that is not there yet is empty.
func History(file string) ([]Began, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var all []Began
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) != 4 {
			return nil, fmt.Errorf("%s: %q is no start", filepath.Base(file), line)
		}
		seconds, nanos, _ := strings.Cut(words[0], ".")
		s, err := strconv.ParseInt(seconds, 10, 64)
		n, err2 := strconv.ParseInt(nanos, 10, 64)
		term, err3 := strconv.ParseInt(words[3], 10, 64)
		if err := errors.Join(err, err2, err3); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		all = append(all, Began{time.Unix(s, n), words[1], words[2], term})
	}
	return all, nil
}
