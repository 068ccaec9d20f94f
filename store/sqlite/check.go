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

// minFreeDisk is how much room on the disk Check wants.
const minFreeDisk = 64 << 20

// checkDirectory returns what is wrong with the directory of path, "" for nothing.
func checkDirectory(path string) string {
	dir := filepath.Dir(path)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Sprintf("the directory %s does not exist: create it, writable by the user of this program", dir)
	case err != nil:
		return fmt.Sprintf("the directory %s cannot be read: %v", dir, err)
	case !info.IsDir():
		return fmt.Sprintf("%s is not a directory: name another place for the file", dir)
	}
	const writable = 2 // access(2)'s W_OK
	if err := syscall.Access(dir, writable); err != nil {
		return fmt.Sprintf("the directory %s is not writable by the user of this program: let that user write there", dir)
	}
	return ""
}

// Check lists what is wrong with the file and its directory.
func (s *Store) Check(ctx context.Context) ([]string, error) {
	if problem := checkDirectory(s.path); problem != "" {
		return []string{problem}, nil
	}
	dir := filepath.Dir(s.path)
	var problems []string
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err == nil && disk.Bavail*uint64(disk.Bsize) < minFreeDisk {
		problems = append(problems, fmt.Sprintf("the disk of %s has only %d MB left: make room on it", dir, disk.Bavail*uint64(disk.Bsize)>>20))
	}
	switch info, err := os.Stat(s.path); {
	case errors.Is(err, os.ErrNotExist):
		return append(problems, fmt.Sprintf("%s does not exist yet: run `replicore store init`", s.path)), nil
	case err != nil:
		return append(problems, fmt.Sprintf("%s cannot be read: %v", s.path, err)), nil
	case !info.Mode().IsRegular():
		return append(problems, fmt.Sprintf("%s is not a file: name another", s.path)), nil
	}
	f, err := s.connect(ctx)
	switch {
	case errors.Is(err, store.ErrUnusable):
		return append(problems, err.Error()), nil
	case err != nil:
		return problems, err
	case !f.ready.Load():
		problems = append(problems, fmt.Sprintf("%s is not set up: run `replicore store init`", s.path))
	}
	return problems, nil
}
