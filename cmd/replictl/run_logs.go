package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

// actionLog is what an action of a node printed and returned.
type actionLog struct {
	Node     string             `json:"node"`
	Stage    string             `json:"stage"`
	Pass     record.PassKind    `json:"pass"`
	Step     string             `json:"step"`
	Attempt  int                `json:"attempt"`
	State    record.ActionState `json:"state"`
	ExitCode *int               `json:"exit_code,omitempty"`
	Error    *record.Error      `json:"error,omitempty"`
	Stdout   string             `json:"stdout"`
	Stderr   string             `json:"stderr"`
	Payload  record.Document    `json:"payload,omitempty"`
}

func (t *tool) runLogs() *cobra.Command {
	cmd := &cobra.Command{Use: "logs RUN [NODE]", Short: "Show what the actions of a run printed and returned", Args: needs("RUN", "[NODE]"),
		Long: "Show each action of a run, or of one of its nodes: how it ended, the end of its standard output and error as the agent\n" +
			"kept it, and its payload. Of an attempt that another one followed, only how it ended is kept.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withRun(cmd.Context(), args[0], func(c *client.Client, runID string) error {
				nodes, err := c.RunNodes(cmd.Context(), runID, nil, 0)
				if err != nil {
					return err
				}
				logs, known := []actionLog{}, len(args) == 1
				for i := range nodes {
					if len(args) == 1 || nodes[i].Node == args[1] {
						known, logs = true, append(logs, logsOf(&nodes[i])...)
					}
				}
				if !known {
					return fmt.Errorf("run %s has no node %q; to see its nodes: replictl run nodes %s", runID, args[1], runID)
				}
				return t.one(logs, func(w io.Writer) { writeLogs(w, logs) })
			})
		}}
	return t.completing(cmd, runNames, runNodeNames)
}

func logsOf(node *record.RunNode) []actionLog {
	logs := []actionLog{}
	for _, a := range node.Actions {
		logs = append(logs, actionLog{Node: node.Node, Stage: a.Stage, Pass: a.Pass, Step: a.Step, Attempt: a.Attempt, State: a.State,
			ExitCode: a.ExitCode, Error: a.Error, Stdout: a.StdoutTail, Stderr: a.StderrTail, Payload: a.Payload})
	}
	return logs
}

func writeLogs(w io.Writer, logs []actionLog) {
	if len(logs) == 0 {
		_, _ = fmt.Fprintln(w, "no action has been started")
	}
	for i := range logs {
		log := &logs[i]
		line := fmt.Sprintf("%s  %s/%s  attempt %d  %s", log.Node, passName(log.Stage, log.Pass, 0), log.Step, log.Attempt, log.State)
		if log.ExitCode != nil && (log.Error == nil || log.Error.Code != record.CodeExit || log.Error.Data["exit_code"] == nil) { // its error says it
			line += fmt.Sprintf("  exit code %d", *log.ExitCode)
		}
		if log.Error != nil {
			line += ": " + oneLine(log.Error.Message)
		}
		_, _ = fmt.Fprintln(w, line)
		if followed(logs, i) {
			_, _ = fmt.Fprintf(w, "  its output is not kept: attempt %d followed\n", logs[i+1].Attempt)
		}
		payload := ""
		if len(log.Payload) > 0 {
			text, _ := json.Marshal(log.Payload) // a Document holds JSON values only
			payload = string(text)
		}
		for _, part := range [][2]string{{"stdout", log.Stdout}, {"stderr", log.Stderr}, {"payload", payload}} {
			if part[1] == "" {
				continue
			}
			_, _ = fmt.Fprintf(w, "  %s:\n", part[0])
			for line := range strings.SplitSeq(strings.TrimRight(part[1], "\r\n"), "\n") {
				_, _ = fmt.Fprintln(w, "    "+strings.ReplaceAll(strings.TrimRight(line, "\r"), "\t", "    "))
			}
		}
	}
}

// followed reports whether an action is an earlier attempt of its step: the record of its node then keeps how it ended, but no output.
func followed(logs []actionLog, i int) bool {
	if i+1 == len(logs) || logs[i].Stdout+logs[i].Stderr != "" || len(logs[i].Payload) > 0 {
		return false
	}
	this, next := &logs[i], &logs[i+1]
	return this.Node == next.Node && this.Stage == next.Stage && this.Pass == next.Pass && this.Step == next.Step
}
