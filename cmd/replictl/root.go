package main

import (
	"context"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/version"
	"github.com/replicante-io/playbooks/record"
)

// terminal is where the tool speaks and listens.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	asks     bool              // there is a person to ask
	draws    bool              // out can be drawn on
	drawsErr bool              // err can be drawn on
	size     func() (int, int) // columns and lines
	now      func() time.Time  // nil: the clock
}

// tool is one invocation.
type tool struct {
	terminal
	settings
	connected *client.Client
	lost      func(error)
	waits     func(string)
	entered   bool // past arguments and flags: errors are no longer of usage
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, t terminal) int {
	if t.now == nil {
		t.now = record.Now
	}
	tool := &tool{terminal: t}
	root := tool.root()
	root.SetArgs(args)
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !tool.entered {
		err = usagef("%w\nUsage: %s (see %s --help)", err, cmd.UseLine(), cmd.CommandPath())
	}
	return conclude(ctx, err, t.err, tool.servers)
}

func (t *tool) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "replictl",
		Short: "Run playbooks over the nodes of clusters",
		Long: `replictl applies playbooks to a control plane, starts and watches runs, and tells them what to do.

Environment: RCTL_SERVER, RCTL_CLUSTER, RCTL_CONTEXT, RCTL_TOKEN, RCTL_OUTPUT, RCTL_CONFIG. A flag goes before the
environment, that before the context (see replictl context).

Exit: 0 done, 1 error, 2 usage, 3 the run ended FAILED, 4 it was CANCELLED, 5 no server could answer, 6 not finished
(paused, waits for an approval, --wait-timeout). Ctrl-C leaves the run alone: 130.`,
		Version:       version.Text(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          help,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.settings.load(cmd.Flags()); err != nil {
				return err
			}
			t.entered = true
			return nil
		},
	}
	root.SetVersionTemplate("replictl {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringSliceP("server", "s", []string{"http://127.0.0.1:16016"}, "`URL`s of the control plane's replicas, with commas")
	flags.String("context", "", "the context to use, by `name`")
	flags.String("config", "", "the `file` with contexts (default: replictl/config.yaml in the user's configuration)")
	flags.StringP("output", "o", "table", "table, json or yaml")
	flags.String("log-level", "warn", "trace, debug, info, warn, error or off")
	flags.String("log-format", "text", "text or json")
	root.AddCommand(t.apply(), t.validate(), t.playbook(), t.run(), t.cluster(), t.node(), t.leader(), t.contexts(), t.versionCommand())
	return root
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: help}
	cmd.AddCommand(commands...)
	return cmd
}

func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// client connects as the settings say.
func (t *tool) client() (*client.Client, error) {
	if t.connected != nil {
		return t.connected, nil
	}
	c, err := client.New(client.Config{
		Servers: t.servers, Token: t.token, Actor: actor(), Version: version.Text(),
		Lost: func(err error) {
			if t.lost != nil {
				t.lost(err)
			}
		},
		Waits: func(words string) {
			if t.waits != nil {
				t.waits(words)
			}
		},
		Log: hclog.New(&hclog.LoggerOptions{Name: "replictl", Output: t.err,
			Level: hclog.LevelFromString(t.logLevel), JSONFormat: t.logFormat == "json"}),
	})
	if err != nil {
		return nil, &exit{code: exitUsage, err: err}
	}
	t.connected = c
	return c, nil
}

func (t *tool) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.Println("replictl " + version.Text())
			return nil
		}}
}
