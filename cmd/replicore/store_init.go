package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/store"
)

func storeInitCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "init", Short: "Make in the primary store what is missing: collections and indexes",
		Long: "Make in the primary store what is missing: collections and indexes. The leader does the same when it begins to lead;\n" +
			"this is for whoever wants it done, or its errors seen, before."}
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
