package main

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/version"
	"github.com/replicante-io/playbooks/record"
)

// terminal is what the tool reads from and writes to.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	asks     bool              // there is a person who can answer questions
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
	stream    stream // called by the client about the stream of events that it follows; set before it does
	parsed    bool   // arguments and flags were valid: errors are no longer about usage
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, t terminal) int {
	if t.now == nil {
		t.now = record.Now
	}
	results := &output{Writer: t.out}
	t.out = results
	tool := &tool{terminal: t}
	root := tool.root()
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		withoutQuotes(root)
	}
	root.SetArgs(args)
	root.SetIn(t.in)
	root.SetOut(t.out)
	root.SetErr(t.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !tool.parsed {
		err = usagef("%w\nUsage: %s (see %s --help)", err, cmd.UseLine(), cmd.CommandPath())
	}
	if results.isClosed() {
		return exitError
	}
	code := tool.conclude(ctx, cmd, err)
	if code == exitDone && results.err != nil {
		tool.note("replictl: write the output: %v", results.err)
		return exitError
	}
	return code
}

func (t *tool) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "replictl",
		Short: "Run playbooks over the nodes of clusters",
		Long: `replictl applies playbooks to a control plane, starts and watches runs, and sends them commands.

Environment: RCTL_SERVER, RCTL_CLUSTER, RCTL_CONTEXT, RCTL_TOKEN, RCTL_OUTPUT, RCTL_CONFIG. A flag wins over the
environment, and the environment over the context (see replictl context).

Exit codes:
  0    done
  1    error
  2    wrong usage
  3    the run ended FAILED
  4    the run ended CANCELLED
  5    no server could answer
  6    the run has not finished: it is paused, it waits for an approval, or --wait-timeout has passed
  130  interrupted with Ctrl-C; the run continues`,
		Version:                    version.Text(),
		SilenceErrors:              true,
		SilenceUsage:               true,
		Args:                       needsCommand,
		RunE:                       help,
		SuggestionsMinimumDistance: 2,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.settings.load(cmd.Flags()); err != nil {
				return err
			}
			t.parsed = true
			return nil
		},
	}
	root.SetVersionTemplate("replictl {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringSliceP("server", "s", []string{"http://127.0.0.1:16016"}, "`URL`s of the control plane's replicas, separated by commas")
	flags.String("context", "", "the `name` of the context to use")
	flags.String("config", "", "the `file` with contexts (default: replictl/config.yaml in the user's configuration directory)")
	flags.StringP("output", "o", "table", "table, json or yaml")
	flags.String("log-level", "warn", "trace, debug, info, warn, error or off")
	flags.String("log-format", "text", "text or json")
	root.AddCommand(t.apply(), t.validate(), t.schema(), t.playbook(), t.schedule(), t.freeze(), t.plan(), t.run(), t.cluster(), t.node(), t.leader(), t.contexts(), t.versionCommand())
	t.completeFlags(root)
	return root
}

// group is a command that only has subcommands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: needsCommand, RunE: help, SuggestionsMinimumDistance: 2}
	cmd.AddCommand(commands...)
	return cmd
}

func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// client makes the client of the servers in the settings.
func (t *tool) client() (*client.Client, error) {
	if t.connected != nil {
		return t.connected, nil
	}
	c, err := client.New(client.Config{
		Servers: t.servers, Token: t.token, Actor: actor(), Version: version.Text(),
		Interrupted: func(err error) {
			if t.stream.interrupted != nil {
				t.stream.interrupted(err)
			}
		},
		Waiting: func(message string) {
			if t.stream.waiting != nil {
				t.stream.waiting(message)
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
	return &cobra.Command{Use: "version", Short: "Print the version", Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.Println("replictl " + version.Text())
			return nil
		}}
}
