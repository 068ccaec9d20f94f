package chaos

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
	"github.com/replicante-io/playbooks/record"
	check "github.com/replicante-io/playbooks/tests/robustness/validate"
)

//go:embed books/*.yaml
var texts embed.FS

const (
	// queue is how many unfinished runs of a cluster there are at most.
	queue = 4
	actor = "chaos"
)

// operators ask for runs and meddle with them, through any replica, and write down what they asked for.
type operators struct {
	clusters []string
	planes   map[string]*client.Client // by cluster
	books    []string
	seed     uint64
	extra    chan struct{}

	mu    sync.Mutex
	asked []check.Asked
	told  []check.Told
	odd   []string // refusals that have no reason to be
}

func newOperators(ctx context.Context, servers, clusters []string, seed uint64) (*operators, error) {
	o := &operators{clusters: clusters, planes: map[string]*client.Client{}, seed: seed, extra: make(chan struct{}, 1)}
	var plane *client.Client
	for i, cluster := range clusters {
		// A client stays with a server until that fails: some are at followers, whoever leads.
		first := i % len(servers)
		var err error
		plane, err = client.New(client.Config{Servers: slices.Concat(servers[first:], servers[:first]), Actor: actor, Patience: 30 * time.Second})
		if err != nil {
			return nil, err
		}
		o.planes[cluster] = plane
	}
	files := Books()
	for _, f := range files {
		o.books = append(o.books, strings.TrimSuffix(f.Name, ".yaml"))
	}
	if _, err := plane.Apply(ctx, files); err != nil {
		return nil, fmt.Errorf("apply the playbooks: %w", err)
	}
	return o, nil
}

// Books are the playbooks that are run; each has its file's name.
func Books() []client.File {
	entries, err := texts.ReadDir("books")
	if err != nil {
		panic(err) // they are in the program
	}
	var files []client.File
	for _, e := range entries {
		text, err := texts.ReadFile("books/" + e.Name())
		if err != nil {
			panic(err)
		}
		files = append(files, client.File{Name: e.Name(), Data: text})
	}
	return files
}

// Run goes on until ctx ends; what is asked for then is still answered.
func (o *operators) Run(ctx context.Context) {
	var all sync.WaitGroup
	for i, cluster := range o.clusters {
		all.Go(func() { o.start(ctx, cluster, rand.New(rand.NewPCG(o.seed, uint64(100+i)))) })
		all.Go(func() { o.meddle(ctx, cluster, rand.New(rand.NewPCG(o.seed, uint64(200+i)))) })
	}
	all.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-o.extra:
			case <-ctx.Done():
				return
			}
			o.ask(context.WithoutCancel(ctx), record.RunRequest{
				Playbook: o.books[n%len(o.books)], Cluster: o.clusters[n%len(o.clusters)], Reason: fmt.Sprintf("more %d", n),
			})
		}
	})
	all.Wait()
}

// More has one more run asked for soon, however busy its cluster is.
func (o *operators) More() {
	select {
	case o.extra <- struct{}{}:
	default: // it is about to be
	}
}

// start keeps a cluster busy.
func (o *operators) start(ctx context.Context, cluster string, random *rand.Rand) {
	for n := 1; ctx.Err() == nil; {
		open, err := o.open(ctx, cluster)
		if err == nil && len(open) < queue {
			o.ask(context.WithoutCancel(ctx), record.RunRequest{
				Playbook: o.books[random.IntN(len(o.books))], Cluster: cluster, Reason: fmt.Sprintf("%s %d", cluster, n),
			})
			n++
			continue
		}
		rest(ctx, 100*time.Millisecond)
	}
}

func (o *operators) ask(ctx context.Context, start record.RunRequest) {
	run, err := o.planes[start.Cluster].Start(ctx, start)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, check.Asked{Reason: start.Reason, RunID: run.ID})
	if refusal := refused(err); refusal != nil {
		o.odd = append(o.odd, fmt.Sprintf("start %s: %s: %s", start.Reason, refusal.Code, refusal.Message))
	}
}

// refused is the answer of a server that did nothing, if err is one.
func refused(err error) *client.Error {
	var e *client.Error
	if errors.As(err, &e) && !errors.Is(err, client.ErrNoServer) {
		return e
	}
	return nil
}

var openStates = []string{
	string(record.RunPending), string(record.RunRunning), string(record.RunPausing), string(record.RunPaused), string(record.RunCancelling),
}

func (o *operators) open(ctx context.Context, cluster string) ([]record.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return o.planes[cluster].Runs(ctx, client.RunFilter{Cluster: cluster, States: openStates})
}

// meddle pauses, resumes and cancels runs of a cluster.
func (o *operators) meddle(ctx context.Context, cluster string, random *rand.Rand) {
	for ctx.Err() == nil {
		rest(ctx, time.Duration(300+random.IntN(1500))*time.Millisecond)
		open, err := o.open(ctx, cluster)
		if err != nil || len(open) == 0 {
			continue
		}
		o.resume(context.WithoutCancel(ctx), open)
		run, dice := &open[random.IntN(len(open))], random.IntN(100)
		switch {
		case dice < 10:
			o.tell(context.WithoutCancel(ctx), run, record.Command{Verb: record.VerbCancel, Kill: dice < 5})
		case dice < 45 && run.State == record.RunRunning:
			o.tell(context.WithoutCancel(ctx), run, record.Command{Verb: record.VerbPause})
		}
	}
}

// resume goes on with every paused run.
func (o *operators) resume(ctx context.Context, runs []record.Run) {
	for i := range runs {
		if runs[i].State == record.RunPaused {
			o.tell(ctx, &runs[i], record.Command{Verb: record.VerbResume})
		}
	}
}

func (o *operators) tell(ctx context.Context, run *record.Run, command record.Command) {
	_, err := o.planes[run.Cluster].Command(ctx, run.ID, command)
	refusal := refused(err)
	if refusal != nil && refusal.Status == http.StatusConflict { // its state has changed meanwhile: nothing was done
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, check.Told{RunID: run.ID, Verb: string(command.Verb), Acknowledged: err == nil})
	if refusal != nil {
		o.odd = append(o.odd, fmt.Sprintf("%s run %s: %s: %s", command.Verb, run.ID, refusal.Code, refusal.Message))
	}
}

func (o *operators) record() (asked []check.Asked, told []check.Told, odd []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked), slices.Clone(o.told), slices.Clone(o.odd)
}
