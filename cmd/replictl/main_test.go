package main

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestATerminalThatReportsNoSizeHasTheUsualOne(t *testing.T) {
	pseudo, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo-terminals: %v", err)
	}
	defer func() { _ = pseudo.Close() }()
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = none.Close() }()
	for _, test := range []struct{ columns, rows, width, height int }{{0, 0, 80, 24}, {0, 50, 80, 24}, {120, 0, 80, 24}, {60, 20, 60, 20}} {
		size := unix.Winsize{Col: uint16(test.columns), Row: uint16(test.rows)}
		if err := unix.IoctlSetWinsize(int(pseudo.Fd()), unix.TIOCSWINSZ, &size); err != nil {
			t.Fatal(err)
		}
		if width, height := sizeOf(none, pseudo); width != test.width || height != test.height {
			t.Errorf("a terminal that reports %d × %d is taken for one of %d × %d", test.columns, test.rows, width, height)
		}
	}
}
