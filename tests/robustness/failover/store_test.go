//go:build integration

package failover

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	rig "github.com/replicante-io/playbooks/tests/robustness/cluster"
)

func TestAStoreThatIsLost(t *testing.T) {
	t.Parallel()
	f := newField(t, rig.Config{Etcds: 1, Replicas: 3, Mongods: 3, Agents: 6})
	cases := []struct {
		name string
		test func(f *field)
	}{
		{"ItsPrimaryIsKilled", primaryKilled},
		{"ItsPrimaryHangs", primaryHangs},
		{"ItsPrimaryHasAFullDisk", primaryFull},
		{"AllOfItIsDown", allOfIt},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(f.with(t)) })
		f.ready(f.Replicas...)
	}
}

// startsAreRecorded fails the test where an action has started of which the store has no record.
func (f *field) startsAreRecorded(id string) {
	f.t.Helper()
	began := f.began(id) // before the records are read
	recorded := map[string]bool{}
	for _, n := range f.records(id) {
		for _, a := range n.Actions {
			recorded[a.ID] = true
		}
	}
	for _, b := range began {
		if !recorded[b.ActionID] {
			f.t.Errorf("action %s was started on %s, and has no record", b.ActionID, b.Node)
		}
	}
}

func primaryKilled(f *field) {
	leader := f.leader()
	run := f.start("slow", 500*time.Millisecond)
	f.hasBegun(run.ID, 2)
	was, err := f.Mongo.Primary()
	f.must(err)
	f.Mongo.Members[was].Kill()
	killed := time.Now()
	begun := len(f.began(run.ID))
	f.until("it goes on", 30*time.Second, func() bool { return len(f.began(run.ID)) > begun+1 })
	f.t.Logf("it went on %s after its primary was killed", time.Since(killed).Round(time.Millisecond))
	f.startsAreRecorded(run.ID)
	run = f.done(run.ID, 40*time.Second)
	if run.Term != f.run(run.ID).Term || !leading(leader) {
		f.t.Errorf("%s does not lead any more", leader.Name)
	}
	f.must(f.Mongo.Members[was].Start())
}

func primaryHangs(f *field) {
	run := f.start("slow", 500*time.Millisecond)
	f.hasBegun(run.ID, 2)
	was, err := f.Mongo.Primary()
	f.must(err)
	f.Mongo.Members[was].Freeze()
	thaw := time.AfterFunc(15*time.Second, f.Mongo.Members[was].Thaw)
	hung := time.Now()
	begun := len(f.began(run.ID))
	f.until("it goes on", 40*time.Second, func() bool { return len(f.began(run.ID)) > begun+1 })
	f.t.Logf("it went on %s after its primary hung", time.Since(hung).Round(time.Millisecond))
	f.done(run.ID, 40*time.Second)
	if !thaw.Stop() {
		return
	}
	f.Mongo.Members[was].Thaw()
}

// primaryFull takes the room from the primary. A mongod whose journal cannot be written ends itself.
func primaryFull(f *field) {
	run := f.start("slow", 500*time.Millisecond)
	f.hasBegun(run.ID, 2)
	was, err := f.Mongo.Primary()
	f.must(err)
	full := f.Mongo.Members[was]
	f.must(full.Limit(1 << 10))
	select {
	case <-full.Ended():
	case <-time.After(20 * time.Second):
		f.t.Log("the server lives on with a full disk")
	}
	f.done(run.ID, 40*time.Second)
	full.Kill()
	f.must(full.Start())
}

func allOfIt(f *field) {
	leader := f.leader()
	run := f.start("slow", 500*time.Millisecond)
	f.hasBegun(run.ID, 2)
	for _, m := range f.Mongo.Members {
		m.Kill()
	}
	down := time.Now()
	f.until("the leader says that its run waits for the store", 15*time.Second, func() bool {
		status, body := ask(leader, "/api/v1/runs/"+run.ID)
		return status == http.StatusOK && strings.Contains(body, "the primary store has not answered since")
	})
	f.t.Logf("the leader says so %s after the set went down", time.Since(down).Round(time.Millisecond))
	for _, m := range f.others(leader) {
		f.until(m.Name+" answers that the store is away", 20*time.Second, func() bool {
			status, body := ask(m, "/api/v1/runs/"+run.ID)
			return status == http.StatusServiceUnavailable && strings.Contains(body, "store_unavailable")
		})
	}
	for _, m := range f.Replicas {
		f.misses(m, "the primary store: ")
	}
	begun := f.began(run.ID) // what was in flight has ended
	if read, err := f.asking(append(f.others(leader), leader)...).Run(f.t.Context(), run.ID); err != nil || read.WaitsFor == "" {
		f.t.Errorf("by way of all it is %+v, %v", read.WaitsFor, err)
	}
	for time.Since(down) < 20*time.Second {
		time.Sleep(100 * time.Millisecond)
		if now := f.began(run.ID); len(now) != len(begun) {
			f.t.Fatalf("%d actions had started, and %d have while the store is down", len(begun), len(now))
		}
	}
	back := time.Now()
	for _, m := range f.Mongo.Members {
		f.must(m.Start())
	}
	_, err := f.Mongo.Primary()
	f.must(err)
	f.t.Logf("the set has a primary %s after its start", time.Since(back).Round(time.Millisecond))
	f.until("it goes on", 30*time.Second, func() bool { return len(f.began(run.ID)) > len(begun) })
	f.t.Logf("the run goes on %s after that start", time.Since(back).Round(time.Millisecond))
	f.startsAreRecorded(run.ID)
	f.done(run.ID, 40*time.Second)
	if !leading(leader) {
		f.t.Errorf("%s does not lead any more", leader.Name)
	}
}

// TestAFullDiskUnderSQLite fills the disk under the file of the one replica. Where no disk may be mounted, a limit of the
// process takes its place, which the kernel answers with another error.
func TestAFullDiskUnderSQLite(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	mounted := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=16m") == nil
	if mounted {
		t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	}
	f := newField(t, rig.Config{Etcds: 1, Replicas: 1, Agents: 6, Store: "sqlite://" + filepath.Join(disk, "core.db")})
	leader := f.leader()
	ballast := filepath.Join(disk, "ballast")
	fill, free := func() error { return leader.Limit(1 << 10) }, func() error { return leader.Limit(0) }
	why := "cannot be read or written"
	if mounted {
		fill, free = func() error { return fillUp(ballast) }, func() error { return os.Remove(ballast) }
		why = "is full, make room on it"
	}
	run := f.start("slow", 500*time.Millisecond)
	f.hasBegun(run.ID, 2)
	f.must(fill())
	var words string
	f.until("the leader says that its run waits for the store", 20*time.Second, func() bool {
		status, body := ask(leader, "/api/v1/runs/"+run.ID)
		words = waitsFor(body)
		return status == http.StatusOK && strings.Contains(words, "the primary store has not answered since")
	})
	if !strings.Contains(words, why) {
		t.Errorf("it does not say why: %s", words)
	}
	f.misses(leader, "the primary store: ")
	begun := len(f.began(run.ID))
	for at := time.Now(); time.Since(at) < 5*time.Second; time.Sleep(100 * time.Millisecond) {
		if now := len(f.began(run.ID)); now != begun {
			t.Fatalf("%d actions had started, and %d have while nothing can be stored", begun, now)
		}
	}
	f.must(free())
	room := time.Now()
	run = f.done(run.ID, 40*time.Second)
	t.Logf("mounted: %t; the run is done %s after there was room", mounted, time.Since(room).Round(time.Millisecond))
	if run.Term != 1 || !leader.Running() {
		t.Errorf("the run ended in term %d", run.Term)
	}
}

// fillUp writes a file until there is no room.
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

func waitsFor(body string) string {
	_, words, _ := strings.Cut(body, `"waits_for":"`)
	words, _, _ = strings.Cut(words, `"`)
	return words
}
