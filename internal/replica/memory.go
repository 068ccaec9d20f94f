package replica

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much garbage this process lets grow beside what it keeps, in percent. It keeps the records of open runs, several
// KiB a node: as much garbage again, Go's default, is half of a leader's memory, and collecting more often costs it little.
const gcPercent = 50

// collectOften has garbage collected as gcPercent says, where the environment does not say otherwise (GOGC).
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
