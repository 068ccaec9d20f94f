package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/store"
)

func storeInitCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "init", Short: "Create the collections and indexes that are missing in the primary store",
		Long: "Create the collections and indexes that are missing in the primary store. A leader does the same when it begins to\n" +
			"lead; use this command to do it, and to see errors, before.\n\n" +
			"How long finished runs are kept is a setting of the installation, in the store: runs.finished_ttl of the configuration\n" +
			"counts when the store is created, and with --set-finished-ttl."}
	options := &store.Config{}
	cmd.Flags().BoolVar(&options.SetFinishedTTL, "set-finished-ttl", false, "keep finished runs as long as runs.finished_ttl of the configuration says")
	return onStore(cmd, config.LoadStore, options, func(ctx context.Context, core config.Core, s store.Store) error {
		if err := s.Init(ctx); err != nil {
			return err
		}
		term, err := s.Term(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "the primary store %s is prepared: installation %s, schema %d, term %d, finished runs are kept for %s\n",
			core.Store, term.Installation, term.Schema, term.Term, yamltree.FormatDuration(term.FinishedTTL()))
		if configured := core.Runs.FinishedTTL; configured != term.FinishedTTL() {
			fmt.Fprintf(cmd.OutOrStdout(), "runs.finished_ttl of this configuration is %s; to set it in the store, add --set-finished-ttl\n",
				yamltree.FormatDuration(configured))
		}
		return nil
	})
}
