package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/bench"
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/version"
)

func runCommand(log *config.Log) *cobra.Command {
	cmd := &cobra.Command{
		Use: "run", Short: "Measure one run over a simulated fleet against the bare fan-out", Args: cobra.NoArgs,
		Long: `Start a simulated fleet with its own etcd in another process, and a control plane in this one. Measure on the same fleet:
- one run over all nodes (one stage, one batch, one step that does nothing, no health gate), from the request until the
  HTTP interface reports it DONE;
- the bare fan-out: one POST and one GET per node, with the controller's HTTP client and concurrency but without a store;
  the median of five, before and after the run. The ratio is of the run to it;
- the same with one POST per node, whose answer the agent holds until the action has ended (POST /action?wait=20ms).
The memory is the largest that this process, the control plane's, has had until the run was DONE, and by how much that is
more than at its start, per node.`,
	}
	var nodes int
	var output, profile string
	c := bench.Config{Version: version.Text()}
	flags := cmd.Flags()
	flags.IntVar(&nodes, "nodes", 1000, "number of nodes")
	flags.StringVar(&c.Store, "store", "", "`URL` of a MongoDB replica set, in which a new database replibench_… is kept; "+
		"default: SQLite in a temporary directory")
	flags.StringVarP(&output, "output", "o", "text", "text or json")
	flags.StringVar(&profile, "cpuprofile", "", "write a CPU profile of the control plane during the run to `FILE`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch {
		case nodes < 1:
			return errors.New("--nodes must be at least 1")
		case output != "text" && output != "json":
			return fmt.Errorf("--output must be text or json, not %q", output)
		}
		var end func() error
		if c.Fleet, end, err = startFleet(cmd.Context(), nodes); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, end()) }()
		c.Log = log.Logger("replibench", os.Stderr)
		if profile != "" {
			if c.Measuring, err = profiler(profile); err != nil {
				return err
			}
		}
		result, err := bench.Run(cmd.Context(), c)
		if err != nil {
			return err
		}
		return show(cmd.OutOrStdout(), output, result)
	}
	return cmd
}

// startFleet starts this program again, as the fleet.
func startFleet(ctx context.Context, nodes int) (fleet bench.Fleet, end func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return fleet, nil, fmt.Errorf("start the fleet: %w", err)
	}
	child := exec.CommandContext(ctx, self, "fleet", "--until-stdin-ends", "--nodes", strconv.Itoa(nodes))
	child.Stderr = os.Stderr
	input, err := child.StdinPipe()
	if err != nil {
		return fleet, nil, fmt.Errorf("start the fleet: %w", err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		return fleet, nil, fmt.Errorf("start the fleet: %w", err)
	}
	if err := child.Start(); err != nil {
		return fleet, nil, fmt.Errorf("start the fleet: %w", err)
	}
	end = func() error {
		_ = input.Close()
		if err := child.Wait(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("the fleet: %w", err)
		}
		return nil
	}
	if err := json.NewDecoder(out).Decode(&fleet); err != nil {
		return fleet, nil, errors.Join(fmt.Errorf("start the fleet: read its address: %w", err), end())
	}
	return fleet, end, nil
}

func profiler(path string) (func() func(), error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write a profile: %w", err)
	}
	return func() func() {
		_ = pprof.StartCPUProfile(file)
		return func() {
			pprof.StopCPUProfile()
			_ = file.Close()
		}
	}, nil
}

func show(w io.Writer, output string, r bench.Result) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(r)
	}
	_, err := fmt.Fprintf(w, "%d nodes: run %.3f s; bare fan-out %.3f s by POST and GET, ratio %.2f; %.3f s by POST with a wait; %d starts; %d MiB, %.1f KiB a node\n",
		r.Nodes, r.RunS, r.FloorS, r.Ratio, r.FloorPostS, r.Starts, r.RSSMB, r.NodeKiB)
	return err
}
