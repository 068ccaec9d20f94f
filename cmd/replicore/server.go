package main

import (
	"context"
	"net"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/replica"
	"github.com/replicante-io/playbooks/internal/systemd"
	"github.com/replicante-io/playbooks/internal/version"
)

func serverCommand(hangups <-chan os.Signal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "server --config FILE", Short: "Run one replica of the control plane", Args: cobra.NoArgs,
		Long: `Run one replica of the control plane, with an etcd and a primary store. Any number of replicas may share the two: one of
them leads, and another takes over when it fails.`,
	}
	file := cmd.Flags().String("config", "", "configuration `file` (replicore.yaml)")
	config.CoreFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		core, err := config.LoadCore(*file, cmd.Flags())
		if err != nil {
			return err
		}
		log := core.Log.Logger("replicore", os.Stderr)
		go config.ReloadLogLevel(cmd.Context(), hangups, log, func() (config.Log, error) {
			core, err := config.LoadCore(*file, cmd.Flags())
			return core.Log, err
		})
		return serve(cmd.Context(), core, log)
	}
	return cmd
}

// serve runs a replica until ctx ends, and notifies systemd. A replica that waits for etcd or the store counts as alive.
func serve(ctx context.Context, core config.Core, log hclog.Logger) error {
	watching, stop := context.WithCancel(ctx)
	serving, watched := make(chan struct{}), make(chan struct{})
	var listening net.Addr
	go func() {
		defer close(watched)
		select {
		case <-serving:
			systemd.Notify(watching, systemd.Answers(listening, "/healthz"))
		case <-watching.Done():
		}
	}()
	defer func() {
		stop()
		<-watched
	}()
	return replica.New(replica.Config{
		Core: core, Version: version.Text(), Log: log,
		Listening: func(address net.Addr) { listening = address },
		Serving:   func(string) { close(serving) },
	}).Run(ctx)
}
