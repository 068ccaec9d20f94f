package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/store"
)

func storeInitCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "init", Short: "Create the collections and indexes that are missing in the primary store",
		Long: "Create the collections and indexes that are missing in the primary store. A leader does the same when it begins to\n" +
			"lead; use this command to do it, and to see errors, before."}
	return onStore(cmd, config.LoadStore, func(ctx context.Context, core config.Core, s store.Store) error {
		if err := s.Init(ctx); err != nil {
			return err
		}
		term, err := s.Term(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "the primary store %s is prepared: installation %s, schema %d, term %d\n",
			core.Store, term.Installation, term.Schema, term.Term)
		return nil
	})
}
