package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/replica"
	"github.com/replicante-io/playbooks/internal/systemd"
	"github.com/replicante-io/playbooks/internal/version"
)

func serverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "server --config FILE", Short: "Run one replica of the control plane", Args: cobra.NoArgs,
		Long: `Run one replica of the control plane, on an etcd and a primary store. Any number of replicas may run on the same two;
one leads, the others take over when it is gone.`,
	}
	file := cmd.Flags().String("config", "", "configuration `file` (replicore.yaml)")
	config.CoreFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		core, err := config.LoadCore(*file, cmd.Flags())
		if err != nil {
			return err
		}
		return serve(cmd.Context(), core)
	}
	return cmd
}

// serve runs a replica until ctx ends, and keeps systemd informed.
func serve(ctx context.Context, core config.Core) error {
	watching, stop := context.WithCancel(ctx)
	serving, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-serving:
			systemd.Watch(watching, func(context.Context) bool { return true })
		case <-watching.Done():
		}
	}()
	defer func() {
		stop()
		<-watched
	}()
	return replica.New(replica.Config{
		Core: core, Version: version.Text(), Log: core.Log.Logger("replicore", os.Stderr),
		Serving: func(string) { close(serving) },
	}).Run(ctx)
}
