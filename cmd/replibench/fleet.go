package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/bench"
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/version"
)

func fleetCommand(log *config.Log) *cobra.Command {
	cmd := &cobra.Command{
		Use: "fleet", Short: "Serve a simulated fleet, for an installation that runs elsewhere", Args: cobra.NoArgs,
		Long: `Serve a simulated fleet: agents of made-up nodes, all behind one port, each with its key in etcd, whose actions are
agent.replicante.io/test.success, test.fail and test.loop and do nothing. It prints where it is, as JSON, once all agents
are registered, and counts at <url>/starts what they have started.`,
	}
	c := bench.FleetConfig{Version: version.Text()}
	flags := cmd.Flags()
	flags.IntVar(&c.Nodes, "nodes", 1000, "how many nodes")
	flags.StringVar(&c.Cluster, "cluster", "bench", "their cluster")
	flags.StringVar(&c.Listen, "listen", "127.0.0.1:0", "`address` to serve all agents on; port 0 takes any")
	flags.StringSliceVar(&c.Endpoints, "etcd", nil, "`URLs` of etcd; without any the fleet has an etcd of its own")
	flags.StringVar(&c.Prefix, "prefix", "/replicante", "what every key of the installation in etcd begins with")
	attended := flags.Bool("until-stdin-ends", false, "end when the standard input does")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if c.Nodes < 1 {
			return errors.New("--nodes must be at least 1")
		}
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		if *attended {
			go func() {
				_, _ = io.Copy(io.Discard, cmd.InOrStdin())
				cancel()
			}()
		}
		if c.Dir, err = os.MkdirTemp("", "replibench-fleet-"); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.Dir)) }()
		c.Log = log.Logger("replibench", os.Stderr)
		c.Ready = func(at bench.Fleet) { _ = json.NewEncoder(cmd.OutOrStdout()).Encode(at) }
		return bench.RunFleet(ctx, c)
	}
	return cmd
}
