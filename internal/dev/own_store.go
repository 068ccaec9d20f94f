package dev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/replicante-io/playbooks/internal/replica"
	"github.com/replicante-io/playbooks/record"
)

// ownStore takes a primary store for this process: one that replicore dev has created, and that no other one on this machine
// uses. Where two on different machines use one store, the one that began to lead first ends.
type ownStore struct {
	installation string
	unlock       func()
}

func (o *ownStore) alone() *replica.Alone {
	return &replica.Alone{CreatedBy: record.CreatedByDev, Accept: o.accept}
}

func (o *ownStore) accept(term record.Term) error {
	switch {
	case term.CreatedBy != record.CreatedByDev:
		return fmt.Errorf("it was not created by replicore dev (installation %s, term %d), and belongs to replicas that lead it: "+
			"name a file that does not exist yet, or a MongoDB without the database %s", term.Installation, term.Term, database)
	case o.installation == term.Installation:
		return nil
	}
	unlock, err := lockFile(filepath.Join(os.TempDir(), "replicore-dev-"+filepath.Base(term.Installation)+".lock"))
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("another replicore dev uses it: end that one, or name another store (%w)", err)
	}
	if err != nil {
		return fmt.Errorf("take it for this process: %w", err)
	}
	o.release()
	o.installation, o.unlock = term.Installation, unlock
	return nil
}

func (o *ownStore) release() {
	if o.unlock != nil {
		o.unlock()
	}
}
