//go:build integration

package chaos_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
	chaos "github.com/replicante-io/playbooks/tests/robustness/traffic"
	check "github.com/replicante-io/playbooks/tests/robustness/validate"
)

// plant is a small installation with one run under way.
type plant struct {
	*rig.Rig
	t       *testing.T
	dir     string
	store   string
	leader  *rig.Member
	other   *rig.Member
	started record.Run
}

// begin starts an installation in which promises are broken, and a run of one node after the other.
func begin(t *testing.T, programs, broken string) *plant {
	t.Helper()
	set := testenv.MongoSet(t, 1)
	p := &plant{t: t, dir: t.TempDir(), store: set.URL}
	config := rig.Config{
		Dir: p.dir, Programs: programs, Store: set.URL, Etcds: 1, Replicas: 2, Agents: 8, LeaseTTL: 2 * time.Second, Env: []string{"REPLICANTE_BREAK=" + broken},
	}
	if err := chaos.Work(&config); err != nil {
		t.Fatal(err)
	}
	var err error
	if p.Rig, err = rig.New(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.End)
	if p.leader, err = p.Leader(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.other = p.Replicas[0]
	if p.other == p.leader {
		p.other = p.Replicas[1]
	}
	p.watch("all nodes to be known", func() bool {
		nodes, err := p.plane(p.leader).Nodes(t.Context(), p.Cluster)
		return err == nil && len(nodes) == len(p.Nodes)
	})
	if _, err := p.plane(p.leader).Apply(t.Context(), chaos.Books()); err != nil {
		t.Fatal(err)
	}
	p.started, err = p.plane(p.leader).Start(t.Context(), record.RunRequest{Playbook: "rolling", Cluster: p.Cluster, Reason: "one"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// plane is a client of one replica.
func (p *plant) plane(m *rig.Member) *client.Client {
	c, err := client.New(client.Config{Servers: []string{m.URL}, Patience: time.Minute})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *plant) watch(what string, done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited for %s", what)
		}
	}
}

func (p *plant) starts() int { return len(p.work()) }

func (p *plant) work() []check.Work {
	work, err := check.Histories(filepath.Join(p.dir, "histories", "*"))
	if err != nil {
		p.t.Fatal(err)
	}
	return work
}

// ends waits until the other replica says that the run has ended.
func (p *plant) ends() {
	p.watch("the run to end", func() bool {
		run, err := p.plane(p.other).Run(p.t.Context(), p.started.ID)
		return err == nil && run.FinishTS != nil
	})
}

// judge is what the checker finds once everything rests, or would have to.
func (p *plant) judge() []check.Violation {
	var evidence check.Evidence
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var err error
		if evidence, err = check.Store(p.t.Context(), p.store, "replicante"); err != nil {
			p.t.Fatal(err)
		}
		if evidence.Rests() {
			break
		}
	}
	evidence.Work, evidence.Asked = p.work(), []check.Asked{{Reason: "one", RunID: p.started.ID}}
	return check.Check(evidence)
}

func TestABrokenPromiseIsFound(t *testing.T) {
	testenv.Mongod(t)
	programs := t.TempDir()
	if err := rig.Build(t.Context(), programs, "failpoints"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		broken string
		story  func(p *plant)
		rules  []string // one of these finds it; none where nothing is to be found
	}{
		{failpoint.Deadline, zombie, nil},
		{failpoint.Deadline + "," + failpoint.Fence, zombie, []string{"saved before sent", "events", "finished", "ended"}},
		{"", storeless, nil},
		{failpoint.Save, storeless, []string{"saved before sent"}},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("without %q", test.broken), func(t *testing.T) {
			t.Parallel()
			p := begin(t, programs, test.broken)
			test.story(p)
			found := p.judge()
			if test.rules == nil {
				for _, v := range found {
					t.Errorf("found %s", v)
				}
				return
			}
			if !slices.ContainsFunc(found, func(v check.Violation) bool { return slices.Contains(test.rules, v.Rule) }) {
				t.Errorf("none of %v found anything, but: %v", test.rules, found)
			}
			for _, v := range found {
				t.Log(v)
			}
		})
	}
}

// zombie: a leader is stopped before it commits, the run goes on to its end without it, and it wakes up.
func zombie(p *plant) {
	if err := p.leader.Trap(p.t.Context(), failpoint.Decided, 4, "stop"); err != nil {
		p.t.Fatal(err)
	}
	p.watch("the leader to stop", p.leader.Frozen)
	p.ends()
	p.leader.Thaw()
	p.watch("the leader to notice", func() bool {
		log, err := os.ReadFile(filepath.Join(p.dir, p.leader.Name+".log"))
		return err == nil && strings.Contains(string(log), `"leadership":"lost"`)
	})
}

// storeless: a leader is cut off from the store in the middle of the run, and killed once something has started that is not
// saved. A cut in the middle of a commit shows nothing: it is healed, and done again.
func storeless(p *plant) {
	for try := 0; ; try++ {
		was := p.starts()
		p.watch("another start, and its record", func() bool { return p.starts() > was && !p.unsaved() })
		if err := p.leader.Cut(p.t.Context(), failpoint.Store); err != nil {
			p.t.Fatal(err)
		}
		// What stays unsaved cannot be watched. A command takes 300 ms at most; the next one has started by then.
		time.Sleep(1500 * time.Millisecond)
		if p.unsaved() || try == 3 {
			break
		}
		if err := p.leader.Heal(p.t.Context(), failpoint.Store); err != nil {
			p.t.Fatal(err)
		}
	}
	p.leader.Kill()
	p.ends()
}

// unsaved tells whether a command has started whose action is not in the store.
func (p *plant) unsaved() bool {
	work := p.work()
	evidence, err := check.Store(p.t.Context(), p.store, "replicante")
	if err != nil {
		p.t.Fatal(err)
	}
	saved := map[string]bool{}
	for _, n := range evidence.Nodes {
		for _, a := range n.Actions {
			saved[a.ID] = true
		}
	}
	return slices.ContainsFunc(work, func(w check.Work) bool { return !saved[w.Action] })
}
