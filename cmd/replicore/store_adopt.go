package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/replica"
	"github.com/replicante-io/playbooks/store"
)

func storeAdoptCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "adopt-etcd", Short: "Record in etcd that it belongs to this primary store",
		Long: `Record in etcd that it belongs to this primary store, whatever is recorded now. Replicas refuse to lead while etcd belongs
to no store or to another one, since terms of different stores cannot be compared. Use this after etcd was set up again,
or after the store was replaced on purpose. Do not use it while replicas run with this etcd and another store.`}
	return onStore(cmd, config.LoadCore, &store.Config{}, func(ctx context.Context, core config.Core, s store.Store) error {
		term, err := s.Term(ctx)
		if errors.Is(err, store.ErrNotFound) {
			return errors.New("the primary store is empty, so there is nothing to record: the first leader prepares the store and etcd; " +
				"to prepare the store before, run replicore store init")
		}
		if err != nil {
			return err
		}
		client, err := replica.Connect(core.Etcd, nil)
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		before, err := replica.AdoptEtcd(ctx, client, core.Etcd.Prefix, term)
		switch {
		case err != nil:
			return err
		case before == term.Installation:
			fmt.Fprintf(cmd.OutOrStdout(), "etcd already belongs to the store %s\n", term.Installation)
		case before == "":
			fmt.Fprintf(cmd.OutOrStdout(), "etcd now belongs to the store %s (term %d)\n", term.Installation, term.Term)
		default:
			fmt.Fprintf(cmd.OutOrStdout(), "etcd now belongs to the store %s (term %d); it belonged to %s before\n", term.Installation, term.Term, before)
		}
		return nil
	})
}
