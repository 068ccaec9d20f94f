//go:build integration

package failover

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/robustness/cluster"
)

func TestTheStoreIsLost(t *testing.T) {
	t.Parallel()
	in := start(t, cluster.Config{Etcds: 1, Replicas: 3, Mongods: 3, Agents: 6})
	cases := []struct {
		name string
		test func(in *installation)
	}{
		{"ItsPrimaryIsKilled", primaryKilled},
		{"ItsPrimaryIsFrozen", primaryFrozen},
		{"TheDiskOfItsPrimaryIsFull", primaryDiskFull},
		{"AllItsMembersAreKilled", storeKilled},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(in.with(t)) })
		in.awaitReady(in.Replicas...)
	}
}

// checkStartsAreSaved fails the test if an action was started that is not in the store.
func (in *installation) checkStartsAreSaved(id string) {
	in.t.Helper()
	starts := in.starts(id) // before the records are read
	saved := map[string]bool{}
	for _, n := range in.nodes(id) {
		for _, a := range n.Actions {
			saved[a.ID] = true
		}
	}
	for _, s := range starts {
		if !saved[s.ActionID] {
			in.t.Errorf("action %s was started on %s and is not saved", s.ActionID, s.Node)
		}
	}
}

func primaryKilled(in *installation) {
	leader := in.leader()
	run := in.startRun("slow", 500*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	primary, err := in.ReplicaSet.Primary()
	in.must(err)
	in.ReplicaSet.Members[primary].Kill()
	killed := time.Now()
	started := len(in.starts(run.ID))
	in.await("the run continues", 30*time.Second, func() bool { return len(in.starts(run.ID)) > started+1 })
	in.t.Logf("the run continues %s after the primary was killed", time.Since(killed).Round(time.Millisecond))
	in.checkStartsAreSaved(run.ID)
	run = in.awaitDone(run.ID, 40*time.Second)
	if run.Term != in.readRun(run.ID).Term || !leads(leader) {
		in.t.Errorf("%s no longer leads", leader.Name)
	}
	in.must(in.ReplicaSet.Members[primary].Start())
}

func primaryFrozen(in *installation) {
	run := in.startRun("slow", 500*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	primary, err := in.ReplicaSet.Primary()
	in.must(err)
	in.ReplicaSet.Members[primary].Freeze()
	thaw := time.AfterFunc(15*time.Second, in.ReplicaSet.Members[primary].Thaw)
	frozen := time.Now()
	started := len(in.starts(run.ID))
	in.await("the run continues", 40*time.Second, func() bool { return len(in.starts(run.ID)) > started+1 })
	in.t.Logf("the run continues %s after the primary was frozen", time.Since(frozen).Round(time.Millisecond))
	in.awaitDone(run.ID, 40*time.Second)
	if !thaw.Stop() {
		return
	}
	in.ReplicaSet.Members[primary].Thaw()
}

// primaryDiskFull makes the primary's writes fail. A mongod that cannot write its journal ends itself.
func primaryDiskFull(in *installation) {
	run := in.startRun("slow", 500*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	primary, err := in.ReplicaSet.Primary()
	in.must(err)
	full := in.ReplicaSet.Members[primary]
	in.must(full.LimitFileSize(1 << 10))
	select {
	case <-full.Done():
	case <-time.After(20 * time.Second):
		in.t.Log("mongod has not ended although its disk is full")
	}
	in.awaitDone(run.ID, 40*time.Second)
	full.Kill()
	in.must(full.Start())
}

func storeKilled(in *installation) {
	leader := in.leader()
	run := in.startRun("slow", 500*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	for _, m := range in.ReplicaSet.Members {
		m.Kill()
	}
	down := time.Now()
	in.await("the leader reports that its run waits for the store", 15*time.Second, func() bool {
		status, body := get(leader, "/api/v1/runs/"+run.ID)
		_, waits := waitsForStore(body)
		return status == http.StatusOK && waits
	})
	in.t.Logf("the leader reports it %s after the members were killed", time.Since(down).Round(time.Millisecond))
	for _, m := range in.others(leader) {
		in.await(m.Name+" reports that the store does not answer", 20*time.Second, func() bool {
			status, body := get(m, "/api/v1/runs/"+run.ID)
			return status == http.StatusServiceUnavailable && strings.Contains(body, "store_unavailable")
		})
	}
	for _, m := range in.Replicas {
		in.awaitUnready(m, "the primary store: ")
	}
	started := in.starts(run.ID) // what was in flight has ended by now
	if read, err := in.clientOf(append(in.others(leader), leader)...).Run(in.t.Context(), run.ID); err != nil || read.Waiting == nil {
		in.t.Errorf("through all replicas it is %+v, %v", read.Waiting, err)
	}
	for time.Since(down) < 20*time.Second {
		time.Sleep(100 * time.Millisecond)
		if now := in.starts(run.ID); len(now) != len(started) {
			in.t.Fatalf("%d actions were started, and %d while the store is down", len(started), len(now))
		}
	}
	back := time.Now()
	for _, m := range in.ReplicaSet.Members {
		in.must(m.Start())
	}
	_, err := in.ReplicaSet.Primary()
	in.must(err)
	in.t.Logf("the replica set has a primary %s after its start", time.Since(back).Round(time.Millisecond))
	in.await("the run continues", 30*time.Second, func() bool { return len(in.starts(run.ID)) > len(started) })
	in.t.Logf("the run continues %s after that start", time.Since(back).Round(time.Millisecond))
	in.checkStartsAreSaved(run.ID)
	in.awaitDone(run.ID, 40*time.Second)
	if !leads(leader) {
		in.t.Errorf("%s no longer leads", leader.Name)
	}
}

// TestTheDiskOfSQLiteIsFull fills a disk of its own. Where it may not mount one, it limits the size of the replica's files, for
// which the kernel has another error.
func TestTheDiskOfSQLiteIsFull(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	mounted := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=16m") == nil
	if mounted {
		t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	}
	in := start(t, cluster.Config{Etcds: 1, Replicas: 1, Agents: 6, Store: "sqlite://" + filepath.Join(disk, "core.db")})
	leader := in.leader()
	ballast := filepath.Join(disk, "ballast")
	fill, free := func() error { return leader.LimitFileSize(1 << 10) }, func() error { return leader.LimitFileSize(0) }
	reason := "cannot be read or written"
	if mounted {
		fill, free = func() error { return fillUp(ballast) }, func() error { return os.Remove(ballast) }
		reason = "is full, make room on it"
	}
	run := in.startRun("slow", 500*time.Millisecond)
	in.awaitStarts(run.ID, 2)
	in.must(fill())
	var message string
	in.await("the leader reports that its run waits for the store", 20*time.Second, func() bool {
		status, body := get(leader, "/api/v1/runs/"+run.ID)
		var waits bool
		message, waits = waitsForStore(body)
		return status == http.StatusOK && waits
	})
	if !strings.Contains(message, reason) {
		t.Errorf("%q does not contain %q", message, reason)
	}
	in.awaitUnready(leader, "the primary store: ")
	started := len(in.starts(run.ID))
	for at := time.Now(); time.Since(at) < 5*time.Second; time.Sleep(100 * time.Millisecond) {
		if now := len(in.starts(run.ID)); now != started {
			t.Fatalf("%d actions were started, and %d while nothing can be stored", started, now)
		}
	}
	in.must(free())
	freed := time.Now()
	run = in.awaitDone(run.ID, 40*time.Second)
	t.Logf("mounted: %t; the run is done %s after the disk has space", mounted, time.Since(freed).Round(time.Millisecond))
	if run.Term != 1 || !leader.Running() {
		t.Errorf("the run ended in term %d", run.Term)
	}
}

// fillUp writes a file until the disk is full.
func fillUp(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	for block := make([]byte, 1<<16); ; {
		if _, err := file.Write(block); errors.Is(err, unix.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// waitsForStore reports whether a run, as the API answered it, waits for the store, and why.
func waitsForStore(body string) (reason string, waits bool) {
	var run record.Run
	if json.Unmarshal([]byte(body), &run) != nil || run.Waiting == nil {
		return "", false
	}
	return run.Waiting.Message, run.Waiting.For == record.WaitStore
}
