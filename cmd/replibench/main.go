// Command replibench measures a run over a simulated fleet.
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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "replibench:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "replibench", Short: "Measure a run over a simulated fleet",
		Long: `replibench measures a control plane over agents of simulated nodes, which do nothing. It never touches
a real node.

Exit: 0 done, 1 error.`,
		Version: version.Text(), Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("replibench {{.Version}}\n")
	var log config.Log
	root.PersistentFlags().StringVar(&log.Level, "log-level", "warn", "trace, debug, info, warn or error")
	root.PersistentFlags().StringVar(&log.Format, "log-format", "text", "text or json")
	root.AddCommand(runCommand(&log), failoverCommand(), fleetCommand(&log))
	return root
}
