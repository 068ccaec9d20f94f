package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/bench"
	"github.com/replicante-io/playbooks/internal/version"
)

func failoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "failover --store URL", Short: "Measure how soon a run goes on after its leader was killed", Args: cobra.NoArgs,
		Long: `Start a simulated fleet with an etcd, in a process of its own, and replicas of the control plane, each in a process of
its own, on the MongoDB replica set at --store, in which a database replibench_… is made. Kill the replica that leads, with
-9, in the middle of runs of actions that take 200 ms, again and again, and measure each time how long it takes until an
agent starts an action of the next term. At the end no action may have been started twice.`,
	}
	var nodes int
	var output string
	c := bench.FailoverConfig{Version: version.Text()}
	flags := cmd.Flags()
	flags.IntVar(&nodes, "nodes", 100, "how many nodes; at least 20")
	flags.IntVar(&c.Replicas, "replicas", 3, "how many replicas; at least 2")
	flags.IntVar(&c.Kills, "kills", 5, "how many times the leader is killed")
	flags.DurationVar(&c.LeaseTTL, "lease-ttl", 10*time.Second, "etcd.lease_ttl of the replicas")
	flags.StringVar(&c.Store, "store", "", "`URL` of a MongoDB replica set")
	flags.StringVar(&c.Programs, "programs", "", "`directory` of replicore; that of this program, if empty")
	flags.StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch {
		case nodes < 20:
			return errors.New("--nodes must be at least 20")
		case c.Replicas < 2:
			return errors.New("--replicas must be at least 2: another one has to take over")
		case c.Kills < 1:
			return errors.New("--kills must be at least 1")
		case c.Store == "":
			return errors.New("--store is missing: name a MongoDB replica set, which several replicas can use")
		case output != "text" && output != "json":
			return fmt.Errorf("--output is %q, not text or json", output)
		}
		if c.Programs == "" {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find replicore: %w", err)
			}
			c.Programs = filepath.Dir(self)
		}
		var end func() error
		if c.Fleet, end, err = startFleet(cmd.Context(), nodes); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, end()) }()
		if output == "text" {
			c.Killed = func(name string, took time.Duration) {
				fmt.Fprintf(cmd.OutOrStdout(), "killed %s: the next dispatch after %.3f s\n", name, took.Seconds())
			}
		}
		result, err := bench.Failover(cmd.Context(), c)
		if err != nil {
			return err
		}
		if output == "json" {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d replicas, lease_ttl %s, %d kills: next dispatch after %.3f s (median), at most %.3f s; %d starts, none twice\n",
			result.Replicas, c.LeaseTTL, len(result.DispatchS), result.MedianS, result.MaxS, result.Starts)
		return err
	}
	return cmd
}
