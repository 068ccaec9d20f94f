package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ActionStart is one start of an action's command, as the command itself recorded it.
type ActionStart struct {
	At       time.Time
	ActionID string
	Node     string
	Term     int64
}

// RecordStart is the beginning of a shell command that records its start in a file, by one append, before it does
// anything else.
func RecordStart(file string) string {
	return fmt.Sprintf(`echo "$(date +%%s.%%N) $REPLICANTE_ACTION_ID $REPLICANTE_NODE_ID $REPLICANTE_TERM" >> '%s'; `, file)
}

// ReadStarts reads what RecordStart wrote. There are none where the file does not exist yet.
func ReadStarts(file string) ([]ActionStart, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var starts []ActionStart
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return nil, fmt.Errorf("%s: line %q has %d fields instead of 4", filepath.Base(file), line, len(fields))
		}
		seconds, nanos, _ := strings.Cut(fields[0], ".")
		s, err := strconv.ParseInt(seconds, 10, 64)
		n, err2 := strconv.ParseInt(nanos, 10, 64)
		term, err3 := strconv.ParseInt(fields[3], 10, 64)
		if err := errors.Join(err, err2, err3); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
		starts = append(starts, ActionStart{time.Unix(s, n), fields[1], fields[2], term})
	}
	return starts, nil
}
