package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/replicante-io/playbooks/store"
)

// scarce is how little room on the disk is worth a word.
const scarce = 64 << 20

// directory says what is wrong with the directory of path, "" for nothing.
func directory(path string) string {
	dir := filepath.Dir(path)
	switch about, err := os.Stat(dir); {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Sprintf("the directory %s does not exist: make it, writable for the user of this program", dir)
	case err != nil:
		return fmt.Sprintf("the directory %s cannot be read: %v", dir, err)
	case !about.IsDir():
		return fmt.Sprintf("%s is not a directory: name another place for the file", dir)
	}
	const writable = 2 // access(2)'s W_OK
	if err := syscall.Access(dir, writable); err != nil {
		return fmt.Sprintf("the directory %s is not writable for the user of this program: let it write there", dir)
	}
	return ""
}

// Check says what is wrong with the file and its directory.
func (s *Store) Check(ctx context.Context) ([]string, error) {
	if wrong := directory(s.path); wrong != "" {
		return []string{wrong}, nil
	}
	dir := filepath.Dir(s.path)
	var wrong []string
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err == nil && disk.Bavail*uint64(disk.Bsize) < scarce {
		wrong = append(wrong, fmt.Sprintf("the disk of %s has only %d MB left: make room on it", dir, disk.Bavail*uint64(disk.Bsize)>>20))
	}
	switch about, err := os.Stat(s.path); {
	case errors.Is(err, os.ErrNotExist):
		return append(wrong, fmt.Sprintf("%s does not exist yet: run `replicore store init`", s.path)), nil
	case err != nil:
		return append(wrong, fmt.Sprintf("%s cannot be read: %v", s.path, err)), nil
	case !about.Mode().IsRegular():
		return append(wrong, fmt.Sprintf("%s is not a file: name another", s.path)), nil
	}
	f, err := s.connect(ctx)
	switch {
	case errors.Is(err, store.ErrUnusable):
		return append(wrong, err.Error()), nil
	case err != nil:
		return wrong, err
	case !f.ready.Load():
		wrong = append(wrong, fmt.Sprintf("%s is not set up: run `replicore store init`", s.path))
	}
	return wrong, nil
}
