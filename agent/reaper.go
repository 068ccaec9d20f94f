package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/replicante-io/playbooks/internal/retry"
)

// reapInterval is how soon after another the reaper looks for processes that have ended.
const reapInterval = 100 * time.Millisecond

// Reaper makes its process the parent of every process that its children leave behind, and waits for them when they end: none stays
// a zombie, also where the agent is the first process of a container. It is for a process that is one agent and nothing else.
type Reaper struct {
	mu  sync.Mutex
	own map[int]bool // commands and probes, which are waited for by those who started them
}

// NewReaper makes this process inherit what its children leave behind.
func NewReaper() (*Reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the reaper of the commands' processes: %w", err)
	}
	return &Reaper{own: map[int]bool{}}, nil
}

// Run waits for inherited processes until ctx ends.
func (r *Reaper) Run(ctx context.Context) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		r.reap()
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
		}
		if !retry.Sleep(ctx, reapInterval) {
			return nil
		}
	}
}

func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, err := processes()
	if err != nil {
		return
	}
	for _, s := range all {
		if s.zombie && s.parent == os.Getpid() && !r.own[s.pid] {
			_, _ = unix.Wait4(s.pid, nil, unix.WNOHANG, nil)
		}
	}
}

// start starts a command, which the caller waits for with wait. A nil reaper only does that.
func (r *Reaper) start(command *exec.Cmd) error {
	if r == nil {
		return command.Start()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := command.Start(); err != nil {
		return err
	}
	r.own[command.Process.Pid] = true
	return nil
}

func (r *Reaper) wait(command *exec.Cmd) error {
	err := command.Wait()
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.own, command.Process.Pid)
	}
	return err
}

// ownChildren are the PIDs of the processes that this process has started and not waited for.
func (r *Reaper) ownChildren() map[int]bool {
	own := map[int]bool{}
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		for pid := range r.own {
			own[pid] = true
		}
	}
	return own
}
