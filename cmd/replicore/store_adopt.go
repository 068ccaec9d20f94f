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
	cmd := &cobra.Command{Use: "adopt-etcd", Short: "Tell etcd that it belongs to this primary store",
		Long: `Tell etcd that it belongs to this primary store, whatever it says now. Replicas refuse to lead while etcd belongs to no
store or to another: their terms would not be comparable. Use it after etcd was built anew, or the store was replaced on
purpose, and not while replicas run on another store with this etcd.`}
	return onStore(cmd, config.LoadCore, func(ctx context.Context, core config.Core, s store.Store) error {
		term, err := s.Term(ctx)
		if errors.Is(err, store.ErrNotFound) {
			return errors.New("the primary store is empty: nothing has to be adopted, the first leader does it all; " +
				"or run replicore store init first")
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
			fmt.Fprintf(cmd.OutOrStdout(), "etcd belongs to the store %s already\n", term.Installation)
		case before == "":
			fmt.Fprintf(cmd.OutOrStdout(), "etcd now belongs to the store %s (term %d)\n", term.Installation, term.Term)
		default:
			fmt.Fprintf(cmd.OutOrStdout(), "etcd now belongs to the store %s (term %d); it belonged to %s before\n", term.Installation, term.Term, before)
		}
		return nil
	})
}
