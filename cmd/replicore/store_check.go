package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/store"
)

func storeCheckCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "check", Short: "Report what is wrong with the primary store, without changing it"}
	return onStore(cmd, config.LoadStore, &store.Config{}, func(ctx context.Context, core config.Core, s store.Store) error {
		problems, err := s.Check(ctx)
		if err != nil {
			return err
		}
		if len(problems) > 0 {
			return fmt.Errorf("the primary store %s has problems:\n  - %s", core.Store, strings.Join(problems, "\n  - "))
		}
		fmt.Fprintf(cmd.OutOrStdout(), "the primary store %s has no problems\n", core.Store)
		return nil
	})
}
