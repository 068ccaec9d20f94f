// Package chaos breaks an installation of several replicas in every way that it is built to survive, while operators
// work with it, and then asks package check what it did wrong.
package chaos

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
	check "github.com/replicante-io/playbooks/tests/robustness/validate"
)

//go:embed work.sh
var work []byte

const (
	database = "replicante"
	clusters = 3
)

// Config is how much there is, and for how long.
type Config struct {
	Dir      string // for everything that is written
	Mongod   string // program
	Seed     uint64
	Duration time.Duration // of the faults
	Patience time.Duration // until all runs have ended, once everything runs again
	LeaseTTL time.Duration

	Replicas, Etcds, Mongods, Agents int

	Env []string  // of the programs, besides
	Log io.Writer // for what goes on
}

// Summary is what happened.
type Summary struct {
	Seed       uint64            `json:"seed"`
	Seconds    float64           `json:"seconds"`
	Faults     map[string]int    `json:"faults"` // by kind
	Missed     int               `json:"missed"` // faults that found nothing to break, or whose turn came too late
	Runs       map[string]int    `json:"runs"`   // by final state
	Starts     int               `json:"starts"` // of commands
	Takeovers  int64             `json:"takeovers"`
	Violations []check.Violation `json:"violations"`
	Dir        string            `json:"dir"`
}

// Run builds the programs, starts them, breaks them and judges what is left.
func Run(ctx context.Context, config Config) (Summary, error) {
	summary := Summary{Seed: config.Seed, Dir: config.Dir}
	if config.Replicas < 2 || config.Etcds < 1 || config.Mongods < 2 || config.Agents < clusters {
		return summary, fmt.Errorf("chaos needs 2 replicas, 1 member of etcd, 2 of MongoDB and %d agents at least", clusters)
	}
	begun := time.Now()
	say := config.printer()
	schedule := Schedule(config.Seed, config.Duration, config.LeaseTTL)
	say("seed %d: %d faults", config.Seed, len(schedule))
	for _, f := range schedule {
		say("%s", f)
	}
	r, err := config.install(ctx)
	if err != nil {
		return summary, err
	}
	defer r.End()
	var names []string
	for i := range clusters {
		names = append(names, clusterOf(i))
	}
	operators, err := newOperators(ctx, r.Servers(), names, config.Seed)
	if err != nil {
		return summary, err
	}
	first, err := check.Store(ctx, r.Mongo.URL, database)
	if err != nil {
		return summary, err
	}
	say("everything runs after %.0fs; here it goes", time.Since(begun).Seconds())

	b := &breaker{
		rig: r, begun: time.Now(), ttl: config.LeaseTTL, duration: config.Duration, say: say, more: operators.More,
		done: map[string]int{}, taken: map[*rig.Member]bool{},
	}
	working, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { operators.Run(working) })
	all.Go(func() { config.progress(working, b, operators) })
	b.Run(ctx, schedule)
	say("%7.1fs  the faults are over", time.Since(b.begun).Seconds())
	stop()
	all.Wait()
	if err := b.Revive(ctx); err != nil {
		return summary, err
	}
	evidence, err := config.settle(ctx, r, operators, say)
	if err != nil {
		return summary, err
	}
	asked, told, odd := operators.record()
	evidence.Asked, evidence.Told = asked, told
	if evidence.Work, err = config.histories(); err != nil {
		return summary, err
	}
	if err := config.keep(evidence); err != nil {
		return summary, err
	}
	summary.Violations = check.Check(evidence)
	for _, text := range b.wrong {
		summary.Violations = append(summary.Violations, check.Violation{Rule: "programs", Evidence: text})
	}
	for _, text := range odd {
		summary.Violations = append(summary.Violations, check.Violation{Rule: "refused", Evidence: text})
	}
	summary.Faults, summary.Missed = b.done, b.missed
	summary.Starts, summary.Takeovers = len(evidence.Work), evidence.Term-first.Term
	summary.Runs = map[string]int{}
	for i := range evidence.Runs {
		summary.Runs[evidence.Runs[i].State]++
	}
	summary.Seconds = time.Since(begun).Round(100 * time.Millisecond).Seconds()
	return summary, nil
}

func (c Config) printer() func(string, ...any) {
	var mu sync.Mutex
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(c.Log, format+"\n", args...)
	}
}

func clusterOf(i int) string { return fmt.Sprintf("chaos-%d", i%clusters+1) }

// install starts everything.
func (c Config) install(ctx context.Context) (*rig.Rig, error) {
	programs := filepath.Join(c.Dir, "bin")
	if err := rig.Build(ctx, programs, "failpoints"); err != nil {
		return nil, err
	}
	config := rig.Config{
		Dir: c.Dir, Programs: programs, Mongod: c.Mongod, LeaseTTL: c.LeaseTTL, Env: c.Env,
		Etcds: c.Etcds, Replicas: c.Replicas, Mongods: c.Mongods, Agents: c.Agents, ClusterOf: clusterOf,
	}
	if err := Work(&config); err != nil {
		return nil, err
	}
	return rig.New(ctx, config)
}

// Work gives agents the action work, whose commands write their histories into files in the directory histories.
func Work(config *rig.Config) error {
	histories, script := filepath.Join(config.Dir, "histories"), filepath.Join(config.Dir, "work.sh")
	if err := os.MkdirAll(histories, 0o700); err != nil {
		return err
	}
	config.AgentYAML = func(id string) string {
		return fmt.Sprintf("actions: {work: {command: [/bin/bash, %q, %q], timeout: 30s}}", script, filepath.Join(histories, id))
	}
	return os.WriteFile(script, work, 0o600)
}

func (c Config) histories() ([]check.Work, error) {
	return check.Histories(filepath.Join(c.Dir, "histories", "*"))
}

// progress tells now and then how it goes.
func (c Config) progress(ctx context.Context, b *breaker, o *operators) {
	for rest(ctx, 10*time.Second) {
		works, err := c.histories()
		asked, told, _ := o.record()
		b.mu.Lock()
		faults := 0
		for _, n := range b.done {
			faults += n
		}
		b.mu.Unlock()
		b.say("%7.1fs  so far: %d faults, %d runs asked for, %d other commands, %d starts%s",
			time.Since(b.begun).Seconds(), faults, len(asked), len(told), len(works), because(err))
	}
}

// rest passes some time, unless ctx ends before.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// settle waits until all runs have ended and everything about them is known, or the patience is over: the checker will
// say what is missing.
func (c Config) settle(ctx context.Context, r *rig.Rig, o *operators, say func(string, ...any)) (check.Evidence, error) {
	begun := time.Now()
	for {
		for _, cluster := range o.clusters {
			if open, err := o.open(ctx, cluster); err == nil {
				o.resume(ctx, open)
			}
		}
		evidence, err := check.Store(ctx, r.Mongo.URL, database)
		rests := err == nil && evidence.Rests()
		if rests || time.Since(begun) > c.Patience {
			say("everything is at rest: %t, after %.0fs", rests, time.Since(begun).Seconds())
			return evidence, err
		}
		if !rest(ctx, time.Second) {
			return evidence, ctx.Err()
		}
	}
}

// keep writes down what the checker sees.
func (c Config) keep(evidence check.Evidence) error {
	text, err := json.MarshalIndent(evidence, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(c.Dir, "evidence.json"), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the evidence: %w", err)
	}
	return nil
}
