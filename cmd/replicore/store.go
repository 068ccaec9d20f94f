package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/replica"
	"github.com/replicante-io/playbooks/store"
)

// storeTimeout bounds what a command does with a store.
const storeTimeout = time.Minute

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "store", Short: "Check and prepare the primary store", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(storeCheckCommand(), storeInitCommand(), storeAdoptCommand())
	return cmd
}

// onStore makes cmd open the primary store of the configuration, with options, call do, and close the store.
func onStore(cmd *cobra.Command, load func(string, *pflag.FlagSet) (config.Core, error), options *store.Config,
	do func(ctx context.Context, core config.Core, s store.Store) error) *cobra.Command {
	cmd.Args = cobra.NoArgs
	file := cmd.Flags().String("config", "", "configuration `file` (replicore.yaml)")
	config.CoreFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		core, err := load(*file, cmd.Flags())
		if err != nil {
			return err
		}
		s, err := replica.OpenStore(core, *options, core.Log.Logger("replicore", os.Stderr))
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		ctx, cancel := context.WithTimeout(cmd.Context(), storeTimeout)
		defer cancel()
		return do(ctx, core, s)
	}
	return cmd
}
