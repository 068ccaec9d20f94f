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
		Use: "fleet", Short: "Serve a simulated fleet for an installation that runs elsewhere", Args: cobra.NoArgs,
		Long: `Serve the agents of simulated nodes on one port. Every node has its key in etcd. The actions are
agent.replicante.io/test.success, test.fail and test.loop, which change nothing. When all agents are registered, the fleet's
address is printed as JSON; <url>/starts counts the actions that the agents have started.`,
	}
	c := bench.FleetConfig{Version: version.Text()}
	flags := cmd.Flags()
	flags.IntVar(&c.Nodes, "nodes", 1000, "number of nodes")
	flags.StringVar(&c.Cluster, "cluster", "bench", "`name` of their cluster")
	flags.StringVar(&c.Listen, "listen", "127.0.0.1:0", "`address` to listen on; port 0 takes a free one")
	flags.StringSliceVar(&c.Endpoints, "etcd", nil, "`URLs` of etcd; default: the fleet starts its own etcd")
	flags.StringVar(&c.Prefix, "prefix", "/replicante", "prefix of the installation's keys in etcd")
	untilStdinEnds := flags.Bool("until-stdin-ends", false, "stop when the standard input ends")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if c.Nodes < 1 {
			return errors.New("--nodes must be at least 1")
		}
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		if *untilStdinEnds {
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
		c.Ready = func(fleet bench.Fleet) { _ = json.NewEncoder(cmd.OutOrStdout()).Encode(fleet) }
		return bench.RunFleet(ctx, c)
	}
	return cmd
}
