// Command replictl is the operator's tool: it applies playbooks, starts and watches runs, and sends them commands.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], terminal{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		asks:     term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())),
		draws:    term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("TERM") != "dumb",
		drawsErr: term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb",
		size:     func() (int, int) { return sizeOf(os.Stdout, os.Stderr) },
	})
	stop()
	os.Exit(code)
}

// sizeOf is the size of the first of these files that is a terminal and reports one.
func sizeOf(files ...*os.File) (width, height int) {
	for _, file := range files {
		if width, height, err := term.GetSize(int(file.Fd())); err == nil && width > 0 && height > 0 { // 0 is not known
			return width, height
		}
	}
	return 80, 24
}
