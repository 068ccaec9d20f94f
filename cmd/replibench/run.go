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
		Long: `Start a simulated fleet with an etcd, in a process of its own, and a control plane in this one. Measure, in the same
minute and on the same fleet: one run over all nodes (one stage, one batch, one step that does nothing, no health gate),
from asking for it until it is seen DONE, by the HTTP interface; and the bare fan-out (one POST and one GET per node, as
many at a time and with the same HTTP client as the controller, and no store), the median of five. The memory is the most
that this process, the control plane's, has had.`,
	}
	var nodes int
	var output, profile string
	c := bench.Config{Version: version.Text()}
	flags := cmd.Flags()
	flags.IntVar(&nodes, "nodes", 1000, "how many nodes")
	flags.StringVar(&c.Store, "store", "", "`URL` of a primary store, as mongodb://…, in which a database replibench_… is made; "+
		"without it, SQLite in a directory that is gone at the end")
	flags.StringVarP(&output, "output", "o", "text", "text or json")
	flags.StringVar(&profile, "cpuprofile", "", "write a CPU profile of the control plane during the run to `FILE`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch {
		case nodes < 1:
			return errors.New("--nodes must be at least 1")
		case output != "text" && output != "json":
			return fmt.Errorf("--output is %q, not text or json", output)
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

// startFleet starts this program once more, as the fleet.
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
		return fleet, nil, errors.Join(fmt.Errorf("start the fleet: it does not say where it is: %w", err), end())
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
	_, err := fmt.Fprintf(w, "%d nodes: run %.3f s, bare fan-out %.3f s, ratio %.2f; %d starts; %d MiB\n",
		r.Nodes, r.RunS, r.FloorS, r.Ratio, r.Starts, r.RSSMB)
	return err
}
