package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
)

func TestPurgedActionsStayKnownByTheirID(t *testing.T) {
	file, err := openBoltJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, j := range map[string]journal{"file": file, "memory": newMemoryJournal()} {
		t.Run(name, func(t *testing.T) {
			defer j.close()
			now := time.Now()
			for n := range 5 {
				e := &entry{Seq: uint64(n + 1), Action: wire.Action{ID: fmt.Sprint("a", n), Kind: "k"}}
				e.end(wire.State{Phase: wire.PhaseDone})
				at := now.Add(time.Duration(n-10) * time.Hour)
				e.Action.FinishedTime = &at
				if err := j.write(change{put: e}); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range []int{2, 1, 0} { // 3 of 5 are older; at most 2 at once
				if dropped, err := j.purge(now.Add(-7*time.Hour), 2); err != nil || dropped != want {
					t.Errorf("purged %d, %v; want %d", dropped, err, want)
				}
			}
			for n := range 5 {
				e, known, err := j.find(fmt.Sprint("a", n))
				if err != nil || !known || (e == nil) != (n < 3) {
					t.Errorf("a%d: %v, known %v, %v", n, e, known, err)
				}
			}
			if list, err := j.finished(10); err != nil || len(list) != 2 || list[0].ID != "a4" {
				t.Errorf("finished: %v, %v", list, err)
			}
			if _, known, _ := j.find("b"); known {
				t.Error("an ID that was never written is known")
			}
		})
	}
}

func TestTheErrorOfADamagedJournalNamesTheRemedy(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, journalFile), make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openBoltJournal(dir); err == nil || !strings.Contains(err.Error(), "move the damaged file away") {
		t.Errorf("a damaged journal: %v", err)
	}
}

func TestJournalIsReadableByItsOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	j, err := openBoltJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	info, err := os.Stat(filepath.Join(dir, journalFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}
