// Package traffic uses an installation as operators do: it starts runs of several playbooks, pauses, resumes and cancels them,
// and records what it asked for.
package traffic

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/retry"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/validate"
)

//go:embed playbooks/*.yaml playbooks/gentle/*.yaml
var playbookFiles embed.FS

const (
	// maxOpenRuns bounds the unfinished runs of a cluster.
	maxOpenRuns = 4
	actor       = "operator"
)

// Operators send requests through any replica. What they do follows from a seed.
type Operators struct {
	clusters  []string
	clients   map[string]*client.Client // by cluster
	playbooks map[string][]string       // by cluster
	seed      uint64
	extra     chan struct{}

	mu         sync.Mutex
	requests   []validate.Request
	commands   []validate.Command
	unexpected []string
}

// NewOperators makes operators of these clusters, who do nothing yet. In the last one they use the gentle playbooks.
func NewOperators(servers, clusters []string, seed uint64) (*Operators, error) {
	o := &Operators{clusters: clusters, clients: map[string]*client.Client{}, playbooks: map[string][]string{}, seed: seed, extra: make(chan struct{}, 1)}
	for i, cluster := range clusters {
		// A client stays with a server until it fails: some of them use a follower, whichever replica leads.
		first := i % len(servers)
		c, err := client.New(client.Config{Servers: slices.Concat(servers[first:], servers[:first]), Actor: actor, Patience: 30 * time.Second})
		if err != nil {
			return nil, err
		}
		o.clients[cluster] = c
		dir := "playbooks"
		if i == len(clusters)-1 {
			dir = "playbooks/gentle"
		}
		for _, f := range playbooksIn(dir) {
			o.playbooks[cluster] = append(o.playbooks[cluster], strings.TrimSuffix(f.Name, ".yaml"))
		}
	}
	return o, nil
}

// ApplyPlaybooks applies the playbooks whose runs are started.
func (o *Operators) ApplyPlaybooks(ctx context.Context) error {
	if _, err := o.clients[o.clusters[0]].Apply(ctx, Playbooks()); err != nil {
		return fmt.Errorf("apply the playbooks: %w", err)
	}
	return nil
}

// Playbooks are the playbooks of the operators. Each has the name of its file.
func Playbooks() []client.File {
	return slices.Concat(playbooksIn("playbooks"), playbooksIn("playbooks/gentle"))
}

func playbooksIn(dir string) []client.File {
	entries, err := playbookFiles.ReadDir(dir)
	if err != nil {
		panic(err) // they are part of the program
	}
	var files []client.File
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		text, err := playbookFiles.ReadFile(dir + "/" + e.Name())
		if err != nil {
			panic(err)
		}
		files = append(files, client.File{Name: e.Name(), Data: text})
	}
	return files
}

// Run sends requests until ctx ends. It waits for the answers to what it has sent.
func (o *Operators) Run(ctx context.Context) {
	var all sync.WaitGroup
	for i, cluster := range o.clusters {
		all.Go(func() { o.startRuns(ctx, cluster, rand.New(rand.NewPCG(o.seed, uint64(100+i)))) })
		all.Go(func() { o.commandRuns(ctx, cluster, rand.New(rand.NewPCG(o.seed, uint64(200+i)))) })
	}
	all.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-o.extra:
			case <-ctx.Done():
				return
			}
			cluster := o.clusters[n%len(o.clusters)]
			playbooks := o.playbooks[cluster]
			o.start(context.WithoutCancel(ctx), record.RunRequest{
				Playbook: playbooks[n%len(playbooks)], Cluster: cluster, Reason: fmt.Sprintf("extra %d", n),
			})
		}
	})
	all.Wait()
}

// StartExtraRun has Run start one more run soon, however many the cluster has.
func (o *Operators) StartExtraRun() {
	select {
	case o.extra <- struct{}{}:
	default: // one is about to be started
	}
}

// startRuns keeps a cluster busy.
func (o *Operators) startRuns(ctx context.Context, cluster string, random *rand.Rand) {
	playbooks := o.playbooks[cluster]
	for n := 1; ctx.Err() == nil; {
		open, err := o.openRuns(ctx, cluster)
		if err == nil && len(open) < maxOpenRuns {
			o.start(context.WithoutCancel(ctx), record.RunRequest{
				Playbook: playbooks[random.IntN(len(playbooks))], Cluster: cluster, Reason: fmt.Sprintf("%s %d", cluster, n),
			})
			n++
			continue
		}
		retry.Sleep(ctx, 100*time.Millisecond)
	}
}

func (o *Operators) start(ctx context.Context, request record.RunRequest) {
	run, err := o.clients[request.Cluster].Start(ctx, request)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, validate.Request{Reason: request.Reason, RunID: run.ID})
	if rejected := rejection(err); rejected != nil {
		o.unexpected = append(o.unexpected, fmt.Sprintf("start %s: %s: %s", request.Reason, rejected.Code, rejected.Message))
	}
}

// rejection is err if it is the answer of a server that did nothing.
func rejection(err error) *client.Error {
	var e *client.Error
	if errors.As(err, &e) && !errors.Is(err, client.ErrNoServer) {
		return e
	}
	return nil
}

var openStates = []string{
	string(record.RunPending), string(record.RunRunning), string(record.RunPausing), string(record.RunPaused), string(record.RunCancelling),
}

func (o *Operators) openRuns(ctx context.Context, cluster string) ([]record.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return o.clients[cluster].Runs(ctx, client.RunFilter{Cluster: cluster, States: openStates})
}

// commandRuns pauses, resumes and cancels runs of a cluster.
func (o *Operators) commandRuns(ctx context.Context, cluster string, random *rand.Rand) {
	for ctx.Err() == nil {
		retry.Sleep(ctx, time.Duration(300+random.IntN(1500))*time.Millisecond)
		open, err := o.openRuns(ctx, cluster)
		if err != nil || len(open) == 0 {
			continue
		}
		o.resume(context.WithoutCancel(ctx), open)
		run, dice := &open[random.IntN(len(open))], random.IntN(100)
		switch {
		case dice < 10:
			o.command(context.WithoutCancel(ctx), run, record.Command{Verb: record.VerbCancel, Kill: dice < 5})
		case dice < 45 && run.State == record.RunRunning:
			o.command(context.WithoutCancel(ctx), run, record.Command{Verb: record.VerbPause})
		}
	}
}

// ResumeAll resumes every paused run.
func (o *Operators) ResumeAll(ctx context.Context) {
	for _, cluster := range o.clusters {
		if open, err := o.openRuns(ctx, cluster); err == nil {
			o.resume(ctx, open)
		}
	}
}

func (o *Operators) resume(ctx context.Context, runs []record.Run) {
	for i := range runs {
		if runs[i].State == record.RunPaused {
			o.command(ctx, &runs[i], record.Command{Verb: record.VerbResume})
		}
	}
}

func (o *Operators) command(ctx context.Context, run *record.Run, command record.Command) {
	_, err := o.clients[run.Cluster].Command(ctx, run.ID, command)
	rejected := rejection(err)
	if rejected != nil && rejected.Status == http.StatusConflict { // its state has changed meanwhile: nothing was done
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.commands = append(o.commands, validate.Command{RunID: run.ID, Verb: string(command.Verb), Acknowledged: err == nil})
	if rejected != nil {
		o.unexpected = append(o.unexpected, fmt.Sprintf("%s run %s: %s: %s", command.Verb, run.ID, rejected.Code, rejected.Message))
	}
}

// Recorded returns what was asked for so far, and the rejections for which there is no reason.
func (o *Operators) Recorded() (requests []validate.Request, commands []validate.Command, unexpected []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.requests), slices.Clone(o.commands), slices.Clone(o.unexpected)
}
