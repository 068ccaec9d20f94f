// Command chaos breaks an installation at random and reports what it did wrong: see package robustness. To see a report,
// break promises of package failpoint: REPLICANTE_BREAK=deadline,fence in the environment.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/replicante-io/playbooks/tests/robustness"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	config := robustness.Config{Log: os.Stdout}
	var output string
	flag.Uint64Var(&config.Seed, "seed", 0, "of the schedule of faults; 0 takes a random one, which is printed")
	flag.DurationVar(&config.Duration, "duration", 3*time.Minute, "how long faults are injected")
	flag.DurationVar(&config.SettleTimeout, "settle-timeout", 3*time.Minute, "how long runs may take to end once the faults are over")
	flag.DurationVar(&config.LeaseTTL, "lease-ttl", 3*time.Second, "etcd.lease_ttl of the replicas")
	flag.IntVar(&config.Replicas, "replicas", 3, "how many replicas")
	flag.IntVar(&config.Etcds, "etcds", 3, "how many members of etcd")
	flag.IntVar(&config.Mongods, "mongods", 3, "how many members of the replica set")
	flag.IntVar(&config.Agents, "agents", 20, "how many agents")
	flag.StringVar(&config.Dir, "dir", "", "`directory` for everything that is written; default: a temporary one, which is kept after a violation")
	flag.StringVar(&output, "o", "text", "text or json")
	flag.Parse()
	if config.Seed == 0 {
		config.Seed = rand.Uint64N(1_000_000)
	}
	if output == "json" {
		config.Log = os.Stderr
	}
	temporary := config.Dir == ""
	err := prepare(&config)
	var summary robustness.Summary
	if err == nil {
		summary, err = robustness.Run(ctx, config)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "chaos: %v\nlogs are in %s\n", err, config.Dir)
		return 2
	}
	if output == "json" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(summary)
	} else {
		show(os.Stdout, summary)
	}
	if len(summary.Violations) > 0 {
		return 1
	}
	if temporary {
		_ = os.RemoveAll(config.Dir)
	}
	return 0
}

// prepare finds mongod and a directory.
func prepare(config *robustness.Config) (err error) {
	if config.Mongod = cluster.FindMongod(); config.Mongod == "" {
		return errors.New("mongod was not found: `make test-deps` installs it")
	}
	if config.Dir == "" {
		config.Dir, err = os.MkdirTemp("", "chaos-")
	}
	return err
}

func show(w io.Writer, s robustness.Summary) {
	faults := 0
	for _, kind := range slices.Sorted(maps.Keys(s.Faults)) {
		fmt.Fprintf(w, "%5d  %s\n", s.Faults[kind], kind)
		faults += s.Faults[kind]
	}
	fmt.Fprintf(w, "%5d  faults, and %d that found nothing to break or came too late\n", faults, s.Missed)
	fmt.Fprintf(w, "%5d  takeovers\n", s.Takeovers)
	for _, state := range slices.Sorted(maps.Keys(s.Runs)) {
		fmt.Fprintf(w, "%5d  runs %s\n", s.Runs[state], state)
	}
	fmt.Fprintf(w, "%5d  starts of commands\n", s.Starts)
	for _, v := range s.Violations {
		fmt.Fprintf(w, "VIOLATION of %s\n", v)
	}
	fmt.Fprintf(w, "%d violations (seed %d, %.0f s)\n", len(s.Violations), s.Seed, s.Seconds)
	if len(s.Violations) > 0 {
		fmt.Fprintf(w, "logs, executions and evidence.json are in %s\n", s.Dir)
	}
}
