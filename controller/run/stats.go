package run

// Stats counts what a runner has to do.
type Stats struct {
	MailboxInputs int // that it has not read
	Actions       int // that are being sent, followed or stopped
	FactRequests  int // that are being asked
}

// Stats counts now.
func (r *Runner) Stats() Stats {

	return Stats{MailboxInputs: r.mailbox.Len(), Actions: int(r.actions.Load()), FactRequests: int(r.requests.Load())}

}

// Close ends a runner whose Run is not called: commands that wait are answered with ErrClosed.
func (r *Runner) Close() { r.mailbox.Close() }
