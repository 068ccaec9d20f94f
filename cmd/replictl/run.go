package main

import (
	"github.com/spf13/cobra"
)

func (t *tool) run() *cobra.Command {
	return group("run", "Start, watch and control runs", t.runStart(), t.runList(), t.runGet(), t.runNodes(), t.runEvents(),
		t.runLogs(), t.runWatch(), t.runPause(), t.runResume(), t.runCancel(), t.runResolve())
}
