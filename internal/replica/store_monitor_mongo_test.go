//go:build integration

package replica_test

import (
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
)

func TestRunsWaitForAMongoDBThatIsKilledOrHangs(t *testing.T) {
	set := testenv.MongoSet(t, 1) // before etcd's framework leaves the source tree
	cluster := etcdtest.Start(t, 1)
	cases := map[string]struct{ away, back func(t *testing.T) }{
		"killed": {func(*testing.T) { set.Kill(0) }, func(t *testing.T) { set.Start(t, 0); set.Primary(t) }},
		"hangs":  {func(*testing.T) { set.Members[0].Freeze() }, func(*testing.T) { set.Members[0].Thaw() }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			etcd, _ := etcdtest.Dial(t, cluster)
			i := &installation{t: t, cluster: cluster, etcd: etcd, prefix: "/" + name}
			i.agent("a")
			configured := func(replica string) *running {
				c := i.config(replica, set.URL)
				c.Store = config.Store{URL: set.URL, Database: name}
				return i.start(c, nil)
			}
			leader := configured("core-1")
			leader.ready()
			follower := configured("core-2")
			follower.ready()
			both, err := client.New(client.Config{Servers: []string{follower.url, leader.url}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := both.Apply(t.Context(), []client.File{{Name: "two.yaml", Data: []byte(twoStages)}}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the node is known", func() bool {
				known, err := both.Nodes(t.Context(), "c")
				return err == nil && len(known) == 1
			})
			run, err := both.Start(t.Context(), record.RunRequest{Playbook: "two", Cluster: "c"})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				ended <- both.Follow(t.Context(), run.ID, 0, func(record.Event) error { return nil })
			}()
			eventually(t, "its action runs", func() bool {
				nodes, err := both.RunNodes(t.Context(), run.ID, nil, 0)
				return err == nil && len(nodes) == 1 && len(nodes[0].Actions) == 1 && nodes[0].Actions[0].State == record.ActionRunning
			})

			c.away(t)
			gone := time.Now()
			var slowest time.Duration
			eventually(t, "the leader reports it", func() bool {
				asked := time.Now()
				run, err := leader.plane.Run(t.Context(), run.ID)
				slowest = max(slowest, time.Since(asked))
				known := err == nil && run.Waiting != nil && run.Waiting.Data["error"] != nil // the first answers have no reason yet
				return known && strings.Contains(waitMessage(run), "the primary store has not answered since")
			})
			t.Logf("the leader reports it %s after; the slowest answer took %s", time.Since(gone), slowest)
			asked := time.Now()
			if _, err := leader.plane.Run(t.Context(), run.ID); err != nil || time.Since(asked) > time.Second {
				t.Errorf("once it is known, an answer takes %s: %v", time.Since(asked), err)
			}
			if slowest > 5*time.Second {
				t.Errorf("the slowest answer took %s", slowest)
			}
			asked = time.Now()
			if run, err := both.Run(t.Context(), run.ID); err != nil || run.Waiting == nil {
				t.Errorf("through the follower: %+v, %v", run.Waiting, err)
			}
			t.Logf("by way of the follower it takes %s", time.Since(asked))

			c.back(t)
			back := time.Now()
			if err := <-ended; err != nil {
				t.Errorf("the watch ended with %v", err)
			}
			t.Logf("the run ended %s after the store was back", time.Since(back))
			if run, err := both.Run(t.Context(), run.ID); err != nil || run.State != record.RunDone || run.Term != 1 {
				t.Errorf("the run is %s in term %d, %v", run.State, run.Term, err)
			}
			if took := time.Since(back); took > 20*time.Second {
				t.Errorf("the run ended %s after the store was back", took)
			}
		})
	}
}
