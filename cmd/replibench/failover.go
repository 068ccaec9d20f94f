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
		Use: "failover --store URL", Short: "Measure how soon a run continues after its leader was killed", Args: cobra.NoArgs,
		Long: `Start a simulated fleet with its own etcd, and replicas of the control plane, each in its own process. The replicas use the
MongoDB replica set at --store, in a new database replibench_…, which is kept. Kill the leader with -9 in the middle of runs
of actions that take 200 ms, several times, and measure the time from each kill until an agent starts an action of the next
term. It is an error if an action was started twice.`,
	}
	var nodes int
	var output string
	c := bench.FailoverConfig{Version: version.Text()}
	flags := cmd.Flags()
	flags.IntVar(&nodes, "nodes", 100, "number of nodes; at least 20")
	flags.IntVar(&c.Replicas, "replicas", 3, "number of replicas; at least 2")
	flags.IntVar(&c.Kills, "kills", 5, "number of times that the leader is killed")
	flags.DurationVar(&c.LeaseTTL, "lease-ttl", 10*time.Second, "etcd.lease_ttl of the replicas")
	flags.StringVar(&c.Store, "store", "", "`URL` of a MongoDB replica set")
	flags.StringVar(&c.Programs, "programs", "", "`directory` of replicore; default: the directory of this program")
	flags.StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch {
		case nodes < 20:
			return errors.New("--nodes must be at least 20")
		case c.Replicas < 2:
			return errors.New("--replicas must be at least 2, so that another one can take over")
		case c.Kills < 1:
			return errors.New("--kills must be at least 1")
		case c.Store == "":
			return errors.New("--store is missing: set it to the URL of a MongoDB replica set")
		case output != "text" && output != "json":
			return fmt.Errorf("--output must be text or json, not %q", output)
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
				fmt.Fprintf(cmd.OutOrStdout(), "killed %s: next dispatch after %.3f s\n", name, took.Seconds())
			}
		}
		result, err := bench.Failover(cmd.Context(), c)
		if err != nil {
			return err
		}
		if output == "json" {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d replicas, lease_ttl %s, %d kills: next dispatch after %.3f s (median), at most %.3f s; %d starts, each action once\n",
			result.Replicas, c.LeaseTTL, len(result.DispatchS), result.MedianS, result.MaxS, result.Starts)
		return err
	}
	return cmd
}
