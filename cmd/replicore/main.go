// Command replicore is the control plane: it runs playbooks over the nodes of clusters.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/version"
)

// Exit codes.
const (
	exitError = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills the program
	root, entered := command(config.Hangups())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "replicore:", err)
		if !*entered {
			fmt.Fprintln(os.Stderr, "See replicore --help.")
			os.Exit(exitUsage)
		}
		os.Exit(exitError)
	}
}

// command is the root command. Entered becomes true when arguments and flags are valid and a subcommand starts.
func command(hangups <-chan os.Signal) (root *cobra.Command, entered *bool) {
	entered = new(bool)
	root = &cobra.Command{
		Use:   "replicore",
		Short: "The control plane: it runs playbooks over the nodes of clusters",
		Long: `replicore is the control plane: it runs playbooks over the nodes of clusters.

Every key of its configuration that is a single value is also a flag and an environment variable: store.url is
--store-url and REPLICORE_STORE_URL. A flag has precedence over the environment, the environment over the file.

Exit: 0 done, 1 error, 2 usage.`,
		Version: version.Text(), Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE:             func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(*cobra.Command, []string) { *entered = true },
	}
	root.SetVersionTemplate("replicore {{.Version}}\n")
	root.AddCommand(serverCommand(hangups), devCommand(), storeCommand())
	return root, entered
}
