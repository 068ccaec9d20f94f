package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

type startFlags struct {
	params      []string
	where       string
	nodes       []string
	reason      string
	ifBusy      string
	revision    int64
	override    bool
	yes, wait   bool
	waitTimeout time.Duration
}

func (t *tool) runStart() *cobra.Command {
	var flags startFlags
	cmd := &cobra.Command{Use: "start PLAYBOOK --cluster C", Short: "Run a playbook on a cluster", Args: needs("PLAYBOOK"),
		Long: "Run a playbook on a cluster. With --wait, show the run until it ends; the exit code says how it ended.",
		RunE: func(cmd *cobra.Command, args []string) error { return t.start(cmd.Context(), args[0], flags) }}
	f := cmd.Flags()
	f.StringP("cluster", "c", "", "the `cluster` to run on")
	f.StringArrayVarP(&flags.params, "param", "p", nil, "a param as `name=value`, lists and maps as YAML or JSON; repeatable")
	f.StringVar(&flags.where, "where", "", "run only on the nodes for which this `expression` is true, such as 'node.attributes.zone == \"a\"'")
	f.StringArrayVar(&flags.nodes, "node", nil, "run only on this `node`; repeatable")
	f.StringVar(&flags.reason, "reason", "", "the reason, recorded with the run")
	f.StringVar(&flags.ifBusy, "if-busy", "", "what to do while another run of the cluster is in the way: queue (default) or fail")
	f.BoolVar(&flags.override, "override-freeze", false, "start it also in a cluster that is frozen; --reason is required")
	f.Int64Var(&flags.revision, "revision", 0, "the revision of the playbook; 0 is the latest")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	f.BoolVarP(&flags.wait, "wait", "w", false, "wait until the run ends")
	f.DurationVar(&flags.waitTimeout, "wait-timeout", 0, "how long to wait, such as 10m; then the run continues (exit code 6)")
	return t.completing(cmd, playbookNames)
}

func (t *tool) start(ctx context.Context, name string, flags startFlags) error {
	cluster, err := t.needCluster()
	if err != nil {
		return err
	}
	switch {
	case flags.ifBusy != "" && flags.ifBusy != "queue" && flags.ifBusy != "fail":
		return usagef("%q is not a valid --if-busy: use queue or fail", flags.ifBusy)
	case flags.override && flags.reason == "":
		return usagef("--override-freeze requires --reason: why this run cannot wait")
	case flags.waitTimeout < 0 || flags.revision < 0:
		return usagef("--wait-timeout and --revision cannot be negative")
	}
	c, err := t.client()
	if err != nil {
		return err
	}
	// The revision that is confirmed is the one that is started.
	applied, err := c.Playbook(ctx, name, flags.revision)
	if err != nil {
		return err
	}
	params, err := readParams(flags.params)
	if err != nil {
		return err
	}
	if t.asks && !flags.yes {
		if err := t.confirm(ctx, c, applied, cluster, flags); err != nil {
			return err
		}
	}
	run, err := c.Start(ctx, record.RunRequest{Playbook: name, Revision: applied.Revision, Cluster: cluster, Params: params,
		Where: flags.where, Nodes: flags.nodes,
		Reason: flags.reason, IfBusy: flags.ifBusy, OverrideFreeze: flags.override})
	if err != nil {
		return err
	}
	if !flags.wait && flags.waitTimeout == 0 {
		if t.format == "table" {
			run = untilPlaced(ctx, run, func(ctx context.Context) (record.Run, error) { return c.Run(ctx, run.ID) })
		}
		return t.one(run, func(w io.Writer) { writeStarted(w, &run) })
	}
	return t.wait(ctx, c, run.ID, flags.waitTimeout, true)
}

// placing is how long a start waits at most for the leader to say what the run waits for, and placingInterval how often it asks.
const (
	placing         = time.Second
	placingInterval = 100 * time.Millisecond
)

// untilPlaced is a run as soon as it has started or it is known what it waits for; after placing, it is as it was.
func untilPlaced(ctx context.Context, run record.Run, read func(context.Context) (record.Run, error)) record.Run {
	ctx, cancel := context.WithTimeout(ctx, placing)
	defer cancel()
	for run.State == record.RunPending && run.Waiting == nil {
		now, err := read(ctx)
		if err != nil {
			return run
		}
		if run = now; run.State != record.RunPending || run.Waiting != nil {
			break
		}
		select {
		case <-ctx.Done():
			return run
		case <-time.After(placingInterval):
		}
	}
	return run
}

// writeStarted writes a run that was started, and what it waits for.
func writeStarted(w io.Writer, run *record.Run) {
	_, _ = fmt.Fprintf(w, "run %s of %s revision %d on %s: %s\n", run.ID, run.Playbook.Name, run.Playbook.Revision, run.Cluster, run.State)
	if !hasBegun(run) && run.Waiting != nil {
		_, _ = fmt.Fprintln(w, "  "+waitingLine(run))
	}
	if waitsForApproval(run) {
		for _, s := range afterRun(view{run: *run}) {
			_, _ = fmt.Fprintf(w, "  %s\n", s)
		}
	}
	_, _ = fmt.Fprintf(w, "  %s\n", suggestion{"watch it", "run watch " + run.ID})
}

func hasBegun(run *record.Run) bool {
	return run.State != record.RunPending && run.State != record.RunPendingApprove
}

// confirm shows what would start, where, and what is in the way, and asks.
func (t *tool) confirm(ctx context.Context, c *client.Client, applied record.Playbook, cluster string, flags startFlags) error {
	nodes, err := c.Nodes(ctx, cluster)
	if err != nil {
		return err
	}
	open, err := c.Runs(ctx, client.RunFilter{Cluster: cluster, States: openStates()})
	if err != nil {
		return err
	}
	names, unreachable, noted := []string{}, []string{}, []string{}
	for _, node := range nodes {
		names = append(names, node.NodeID)
		if !node.Present || node.Status == record.StatusUnreachable {
			unreachable = append(unreachable, nodeAndReason(node))
		} else if node.StatusReason != "" {
			noted = append(noted, nodeAndReason(node))
		}
	}
	t.note("server:    %s", list(t.servers))
	t.note("playbook:  %s revision %d %s", applied.Name, applied.Revision, applied.Version)
	if len(flags.params) > 0 {
		t.note("params:    %s", strings.Join(flags.params, " "))
	}
	t.note("cluster:   %s", cluster)
	t.note("nodes:     %d: %s", len(names), list(names))
	if flags.where != "" {
		t.note("where:     %s", flags.where)
	}
	if len(flags.nodes) > 0 {
		t.note("only:      %s", list(flags.nodes))
	}
	if len(unreachable) > 0 {
		t.note("           %d of them unreachable: %s", len(unreachable), list(unreachable))
	}
	if len(noted) > 0 {
		t.note("           %d of them with a warning: %s", len(noted), list(noted))
	}
	if flags.override {
		t.note("freezes:   are overridden")
	}
	for _, run := range open {
		t.note("other run: %s of %s is %s", run.ID, run.Playbook.Name, run.State)
	}
	if len(open) > 0 && flags.ifBusy == "fail" {
		t.note("           with --if-busy fail the start is refused if one of them is in the way")
	} else if len(open) > 0 {
		t.note("           the new run waits in the queue while one of them is in the way")
	}
	return t.ask(ctx, "Start it? [y/N] ")
}

// nodeAndReason is a node with the reason for its status.
func nodeAndReason(node record.Node) string {
	if node.StatusReason == "" {
		return node.NodeID
	}
	return node.NodeID + " (" + cut(node.StatusReason, 160) + ")"
}

// ask asks a person; the error says that the answer is not yes.
func (t *tool) ask(ctx context.Context, question string) error {
	_, _ = fmt.Fprint(t.err, question)
	lines := make(chan string, 1)
	go func() { // nobody can wait for it: a read of a terminal cannot be interrupted and ends with the process
		line, _ := bufio.NewReader(t.in).ReadString('\n')
		lines <- line
	}()
	select {
	case line := <-lines:
		if answer := strings.ToLower(strings.TrimSpace(line)); answer == "y" || answer == "yes" {
			return nil
		}
		return &exit{code: exitError, err: fmt.Errorf("not started")}
	case <-ctx.Done():
		t.note("")
		return ctx.Err()
	}
}

// readParams reads name=value. The values are sent as they are written: the server reads them by the types that the playbook
// declares.
func readParams(given []string) (map[string]any, error) {
	params := map[string]any{}
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usagef("%q is not a valid param: write it as name=value", text)
		}
		if _, twice := params[name]; twice {
			return nil, usagef("param %s is given twice", name)
		}
		params[name] = value
	}
	return params, nil
}
