// Package robustness breaks an installation of several replicas in every way that it must survive, while operators use it, and
// then judges what is left: package cluster runs the installation, traffic uses it, faults breaks it, and validate judges.
package robustness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
	"github.com/replicante-io/playbooks/tests/robustness/faults"
	"github.com/replicante-io/playbooks/tests/robustness/traffic"
	"github.com/replicante-io/playbooks/tests/robustness/validate"
)

const (
	database = "replicante"
	clusters = 4 // the last one has gentle faults only
	foreign  = 2 // agents that somebody else wrote, in the last one
)

// Config is the size of the installation, and how long it is broken.
type Config struct {
	Dir      string // for everything that is written
	Mongod   string // program
	Seed     uint64 // of the faults and of the operators
	Duration time.Duration
	// SettleTimeout bounds how long runs may take to end once the faults are over and everything runs again.
	SettleTimeout time.Duration
	LeaseTTL      time.Duration

	Replicas, Etcds, Mongods, Agents int

	Env []string  // added to the environment of the programs
	Log io.Writer // of the progress
}

// Summary is what happened.
type Summary struct {
	Seed       uint64               `json:"seed"`
	Seconds    float64              `json:"seconds"`
	Faults     map[string]int       `json:"faults"` // by kind
	Missed     int                  `json:"missed"` // faults that found nothing to break, or came too late
	Runs       map[string]int       `json:"runs"`   // by final state
	Starts     int                  `json:"starts"` // of commands
	Takeovers  int64                `json:"takeovers"`
	Violations []validate.Violation `json:"violations"`
	Dir        string               `json:"dir"`
}

// Run builds the programs, starts an installation, uses and breaks it, and judges what is left.
func Run(ctx context.Context, config Config) (Summary, error) {
	summary := Summary{Seed: config.Seed, Dir: config.Dir}
	if config.Replicas < 2 || config.Etcds < 1 || config.Mongods < 2 || config.Agents < clusters {
		return summary, fmt.Errorf("at least 2 replicas, 1 member of etcd, 2 of MongoDB and %d agents are needed", clusters)
	}
	begin := time.Now()
	log := config.logger()
	schedule := faults.Schedule(config.Seed, config.Duration, config.LeaseTTL)
	log("seed %d: %d faults", config.Seed, len(schedule))
	for _, f := range schedule {
		log("%s", f)
	}
	installation, err := config.start(ctx)
	if err != nil {
		return summary, err
	}
	defer installation.Stop()
	operators, err := config.operators(ctx, installation)
	if err != nil {
		return summary, err
	}
	before, err := validate.ReadStore(ctx, installation.ReplicaSet.URL, database)
	if err != nil {
		return summary, err
	}
	since, err := validate.Position(ctx, installation.ReplicaSet.URL)
	if err != nil {
		return summary, err
	}
	var strangers []*cluster.ForeignAgent
	for i := range foreign {
		node := fmt.Sprintf("foreign-%d", i+1)
		stranger, err := installation.StartForeignAgent(ctx, clusterOf(clusters-1), node, traffic.ExecutionsOf(config.Dir, node))
		if err != nil {
			return summary, err
		}
		defer stranger.Close()
		strangers = append(strangers, stranger)
	}
	log("everything runs after %.0fs; the faults begin", time.Since(begin).Seconds())

	injector := faults.NewInjector(faults.Config{
		Installation: installation, LeaseTTL: config.LeaseTTL, Duration: config.Duration, Log: log, StartExtraRun: operators.StartExtraRun,
		Busy:     func(node string) bool { return traffic.Working(config.Dir, node) },
		Gentle:   func(node string) bool { return slices.Contains(gentle(installation), node) },
		SetProbe: func(node string, takes time.Duration) error { return traffic.SetProbe(config.Dir, node, takes) },
		Foreign:  strangers,
	})
	config.inject(ctx, injector, operators, schedule, log)
	if err := injector.Repair(ctx); err != nil {
		return summary, err
	}
	evidence, err := config.settle(ctx, installation, operators, log)
	if err != nil {
		return summary, err
	}
	if evidence.Executions, err = traffic.Executions(config.Dir); err != nil {
		return summary, err
	}
	requests, commands, unexpected := operators.Recorded()
	evidence.Requests, evidence.Commands, evidence.Gentle = requests, commands, gentle(installation)
	if evidence.Commits, err = validate.ReadCommits(ctx, installation.ReplicaSet.URL, database, since); err != nil {
		return summary, err
	}
	if err := config.keep(evidence); err != nil {
		return summary, err
	}
	injected := injector.Result()
	summary.Violations = validate.Validate(evidence)
	for _, text := range injected.Wrong {
		summary.Violations = append(summary.Violations, validate.Violation{Rule: "programs", Evidence: text})
	}
	for _, text := range unexpected {
		summary.Violations = append(summary.Violations, validate.Violation{Rule: "rejections", Evidence: text})
	}
	summary.Faults, summary.Missed = injected.Injected, injected.Missed
	summary.Starts, summary.Takeovers = len(evidence.Executions), evidence.Term-before.Term
	summary.Runs = map[string]int{}
	for i := range evidence.Runs {
		summary.Runs[evidence.Runs[i].State]++
	}
	summary.Seconds = time.Since(begin).Round(100 * time.Millisecond).Seconds()
	return summary, nil
}

// logger returns a function that writes lines, for several goroutines.
func (c Config) logger() func(string, ...any) {
	var mu sync.Mutex
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(c.Log, format+"\n", args...)
	}
}

func clusterOf(i int) string { return fmt.Sprintf("cluster-%d", i%clusters+1) }

// gentle are the nodes of the last cluster.
func gentle(installation *cluster.Installation) []string {
	var nodes []string
	for i, node := range installation.Nodes {
		if clusterOf(i) == clusterOf(clusters-1) {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

func (c Config) start(ctx context.Context) (*cluster.Installation, error) {
	programs := filepath.Join(c.Dir, "bin")
	if err := cluster.Build(ctx, programs, "failpoints"); err != nil {
		return nil, err
	}
	config := cluster.Config{
		Dir: c.Dir, Programs: programs, Mongod: c.Mongod, LeaseTTL: c.LeaseTTL, Env: c.Env,
		Etcds: c.Etcds, Replicas: c.Replicas, Mongods: c.Mongods, Agents: c.Agents, ClusterOf: clusterOf,
	}
	if err := traffic.AddWork(&config); err != nil {
		return nil, err
	}
	return cluster.Start(ctx, config)
}

func (c Config) operators(ctx context.Context, installation *cluster.Installation) (*traffic.Operators, error) {
	var names []string
	for i := range clusters {
		names = append(names, clusterOf(i))
	}
	operators, err := traffic.NewOperators(installation.Servers(), names, c.Seed)
	if err != nil {
		return nil, err
	}
	return operators, operators.ApplyPlaybooks(ctx)
}

// inject injects the faults while the operators work, and logs the progress.
func (c Config) inject(ctx context.Context, injector *faults.Injector, operators *traffic.Operators, schedule []faults.Fault,
	log func(string, ...any)) {
	begin := time.Now()
	working, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { operators.Run(working) })
	all.Go(func() {
		for retry.Sleep(working, 10*time.Second) {
			executions, err := traffic.Executions(c.Dir)
			if err != nil {
				log("%v", err)
			}
			requests, commands, _ := operators.Recorded()
			injected := 0
			for _, n := range injector.Result().Injected {
				injected += n
			}
			log("%7.1fs  so far: %d faults, %d runs requested, %d other commands, %d starts",
				time.Since(begin).Seconds(), injected, len(requests), len(commands), len(executions))
		}
	})
	injector.Run(ctx, schedule)
	log("%7.1fs  the faults are over", time.Since(begin).Seconds())
	stop()
	all.Wait()
}

// settle waits until no run needs a leader, or the timeout: the rules will report what is missing.
func (c Config) settle(ctx context.Context, installation *cluster.Installation, operators *traffic.Operators, log func(string, ...any)) (validate.Evidence, error) {
	begin := time.Now()
	for {
		operators.ResumeAll(ctx)
		evidence, err := validate.ReadStore(ctx, installation.ReplicaSet.URL, database)
		settled := err == nil && evidence.Settled()
		if settled || time.Since(begin) > c.SettleTimeout {
			log("all runs have ended: %t, after %.0fs", settled, time.Since(begin).Seconds())
			return evidence, err
		}
		if !retry.Sleep(ctx, time.Second) {
			return evidence, ctx.Err()
		}
	}
}

// keep writes down what the rules see.
func (c Config) keep(evidence validate.Evidence) error {
	text, err := json.MarshalIndent(evidence, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(c.Dir, "evidence.json"), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the evidence: %w", err)
	}
	return nil
}
