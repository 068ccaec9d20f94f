package run

// Stats counts what a runner has to do.
type Stats struct {
	Mailbox  int // inputs that it has not read
	InFlight int // effects that are being carried out
}

// Stats counts now.
func (r *Runner) Stats() Stats {
	return Stats{Mailbox: r.mailbox.Len(), InFlight: int(r.inFlight.Load())}
}

// Close ends a runner whose Run is not called: commands that wait are answered with ErrClosed.
func (r *Runner) Close() { r.mailbox.Close() }
