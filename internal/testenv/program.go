package testenv

import "testing"

// Program is a program of the house in a process of its own.
type Program struct{ process *process }

// NewProgram starts a program, with what it prints added to the file log; it ends with the test.
func NewProgram(t testing.TB, log, path string, args ...string) *Program {
	t.Helper()
	process, err := start(log, path, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.kill)
	return &Program{process}
}

// Kill ends the program as kill -9 does, and waits until it is gone.
func (p *Program) Kill() { p.process.kill() }

// Ended is closed when the program has ended.
func (p *Program) Ended() <-chan struct{} { return p.process.ended() }
