package transport

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// spareDescriptors is how many file descriptors of a process are kept for those who call it, and for its files, rather than
// used to call others.
const spareDescriptors = 8

// ErrNoDescriptors means that the process has no file descriptor to spare for a connection: nothing is said about the other side.
var ErrNoDescriptors = errors.New("this process is out of file descriptors")

// IsNoDescriptors reports whether a call failed because the process, or its machine, is out of file descriptors.
func IsNoDescriptors(err error) bool {
	return errors.Is(err, ErrNoDescriptors) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// CheckDescriptors fails with ErrNoDescriptors while the process has none to spare.
func CheckDescriptors() error {
	file, err := os.Open(os.DevNull)
	if err != nil {
		if IsNoDescriptors(err) {
			return fmt.Errorf("%w: %w", ErrNoDescriptors, err)
		}
		return nil
	}
	defer file.Close()
	return checkSpare(file.Fd())
}

// keepSpare is a net.Dialer's Control that leaves the last descriptors to others.
func keepSpare(_, _ string, connection syscall.RawConn) error {
	var spare error
	if err := connection.Control(func(descriptor uintptr) { spare = checkSpare(descriptor) }); err != nil {
		return err
	}
	return spare
}

// checkSpare judges by a new descriptor, which is the lowest that was free.
func checkSpare(descriptor uintptr) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil
	}
	if uint64(descriptor)+spareDescriptors >= limit.Cur {
		return fmt.Errorf("%w: it may have %d", ErrNoDescriptors, limit.Cur)
	}
	return nil
}
