package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// lock takes the database for this process until the returned file is closed or the process ends. It is a lock on a file
// beside it, because closing any other descriptor of the database itself would drop SQLite's own locks.
func lock(path string) (*os.File, error) {
	// All names of a file must lead to one lock.
	if file, err := filepath.EvalSymlinks(path); err == nil {
		path = file
	} else if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	held, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, store.ErrUnusable)
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer held.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s.lock: %w: %w", path, err, store.ErrUnusable)
		}
		holder, _ := io.ReadAll(io.LimitReader(held, 1000))
		return nil, fmt.Errorf("it is in use by %s, which must end first: %w", strings.TrimSpace(string(holder)), store.ErrUnusable)
	}
	host, _ := os.Hostname()
	note := fmt.Sprintf("process %d (%s) on %s since %s\n", os.Getpid(), filepath.Base(os.Args[0]), host, record.Now().Format("2006-01-02 15:04:05Z07:00"))
	if err := errors.Join(held.Truncate(0), writeAt(held, note)); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", err, store.ErrUnusable), held.Close())
	}
	return held, nil
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}
