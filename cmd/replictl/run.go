package main

import (
	"github.com/spf13/cobra"
)

func (t *tool) run() *cobra.Command {
	cmd := group("run", "Start, watch and control runs", t.runStart(), t.runList(), t.runGet(), t.runNodes(), t.runEvents(),
		t.runLogs(), t.runWatch(), t.runPause(), t.runResume(), t.runCancel(), t.runApprove(), t.runReject(),
		t.runRetry(), t.runResolve())
	cmd.Long = `Start, watch and control runs.

A RUN is the id of a run, a beginning of it that no other run has, or "last": the newest run, of the cluster in the settings
if there is one.`
	return cmd
}
