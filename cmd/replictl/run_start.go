package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

type startFlags struct {
	params      []string
	reason      string
	ifBusy      string
	revision    int64
	yes, wait   bool
	waitTimeout time.Duration
}

func (t *tool) runStart() *cobra.Command {
	var flags startFlags
	cmd := &cobra.Command{Use: "start PLAYBOOK --cluster C", Short: "Run a playbook on a cluster", Args: cobra.ExactArgs(1),
		Long: "Run a playbook on a cluster. With --wait, show the run until it ends; the exit code says how it ended.",
		RunE: func(cmd *cobra.Command, args []string) error { return t.start(cmd.Context(), args[0], flags) }}
	f := cmd.Flags()
	f.StringP("cluster", "c", "", "the `cluster` to run on")
	f.StringArrayVarP(&flags.params, "param", "p", nil, "a param as `name=value`, lists and maps as YAML or JSON; repeatable")
	f.StringVar(&flags.reason, "reason", "", "the reason, recorded with the run")
	f.StringVar(&flags.ifBusy, "if-busy", "", "what to do while another run of the cluster is in the way: queue (default) or fail")
	f.Int64Var(&flags.revision, "revision", 0, "the revision of the playbook; 0 is the latest")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	f.BoolVarP(&flags.wait, "wait", "w", false, "wait until the run ends")
	f.DurationVar(&flags.waitTimeout, "wait-timeout", 0, "how long to wait, such as 10m; then the run continues (exit code 6)")
	return cmd
}

func (t *tool) start(ctx context.Context, name string, flags startFlags) error {
	cluster, err := t.needCluster()
	if err != nil {
		return err
	}
	switch {
	case flags.ifBusy != "" && flags.ifBusy != "queue" && flags.ifBusy != "fail":
		return usagef("%q is not a valid --if-busy: use queue or fail", flags.ifBusy)
	case flags.waitTimeout < 0 || flags.revision < 0:
		return usagef("--wait-timeout and --revision cannot be negative")
	}
	c, err := t.client()
	if err != nil {
		return err
	}
	// The revision that is confirmed and whose params are read is the one that is started.
	applied, err := c.Playbook(ctx, name, flags.revision)
	if err != nil {
		return err
	}
	params, err := readParams(flags.params, applied)
	if err != nil {
		return err
	}
	if t.asks && !flags.yes {
		if err := t.confirm(ctx, c, applied, cluster, flags.params); err != nil {
			return err
		}
	}
	run, err := c.Start(ctx, record.RunRequest{Playbook: name, Revision: applied.Revision, Cluster: cluster, Params: params,
		Reason: flags.reason, IfBusy: flags.ifBusy})
	if err != nil {
		return err
	}
	if !flags.wait && flags.waitTimeout == 0 {
		return t.one(run, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "run %s of %s revision %d on %s: %s\n  %s\n",
				run.ID, run.Playbook.Name, run.Playbook.Revision, cluster, run.State, suggestion{"watch it", "run watch " + run.ID})
		})
	}
	return t.wait(ctx, c, run.ID, flags.waitTimeout, true)
}

// confirm shows what would start, and where, and asks.
func (t *tool) confirm(ctx context.Context, c *client.Client, applied record.Playbook, cluster string, params []string) error {
	nodes, err := c.Nodes(ctx, cluster)
	if err != nil {
		return err
	}
	names := make([]string, len(nodes))
	for i, node := range nodes {
		names[i] = node.NodeID
	}
	t.note("server:    %s", list(t.servers))
	t.note("playbook:  %s revision %d %s", applied.Name, applied.Revision, applied.Version)
	if len(params) > 0 {
		t.note("params:    %s", strings.Join(params, " "))
	}
	t.note("cluster:   %s", cluster)
	t.note("nodes:     %d: %s", len(names), list(names))
	_, _ = fmt.Fprint(t.err, "Start it? [y/N] ")
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

// readParams reads name=value by the types that the playbook declares. The server rejects params that it does not declare.
func readParams(given []string, applied record.Playbook) (map[string]any, error) {
	types := map[string]string{}
	declared, _ := applied.Spec["params"].([]any)
	for _, item := range declared {
		param, _ := item.(map[string]any)
		name, _ := param["name"].(string)
		types[name], _ = param["type"].(string)
	}
	params := map[string]any{}
	for _, text := range given {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usagef("%q is not a valid param: write it as name=value", text)
		}
		if _, twice := params[name]; twice {
			return nil, usagef("param %s is given twice", name)
		}
		switch types[name] {
		case "int", "float", "bool", "list", "map":
			var read any
			if err := yaml.Unmarshal([]byte(value), &read); err != nil {
				return nil, usagef("param %s: %q is not a valid %s", name, value, types[name])
			}
			params[name] = read
		default:
			params[name] = value
		}
	}
	return params, nil
}
