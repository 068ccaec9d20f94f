package record

// Codes of errors, stable for programs. An agent's error keeps the code that its agent gave.
const (
	// Of actions.
	CodeTimeout        = "timeout"         // the attempt did not end within its step's timeout
	CodeCancelled      = "cancelled"       // of a run too: an operator cancelled it
	CodeExit           = "exit"            // the command ended with another status than 0
	CodeFailed         = "failed"          // the agent gave no code
	CodeLost           = "lost"            // it was running when its agent's earlier life ended
	CodeNeverStarted   = "never_started"   // it was only queued then
	CodeRejected       = "rejected"        // the agent does not know the kind, or cannot read the arguments
	CodeUnreachable    = "unreachable"     // the agent does not answer; nothing was sent
	CodeUnknown        = "unknown"         // nobody knows how, or whether, it ended
	CodeForgotten      = "forgotten"       // the agent no longer knows what it had accepted
	CodeJournalChanged = "journal_changed" // the agent has lost its journal
	CodeConflict       = "conflict"        // the agent has another action under this ID

	// Of nodes.
	CodeHealthTimeout = "health_timeout" // not healthy in time after its steps
	CodeUnsettled     = "unsettled"      // an earlier action may still be running on it

	// Of nodes, stages and runs.
	CodeExpression  = "expression_error" // an expression failed for another reason than an absent fact
	CodeFactsAbsent = "facts_absent"     // an expression waited in vain for a fact

	// Of stages and runs.
	CodeNoTargets   = "no_targets"   // a stage is for no node
	CodeMaxFailures = "max_failures" // more nodes failed than a stage allows
	CodeNodesFailed = "nodes_failed" // the run went to its end, and nodes failed
	CodeNodeAdded   = "node_added"   // a node appeared, and the playbook says pause or fail
	CodeNodeRemoved = "node_removed" // a node went away, and the playbook says pause or fail
)
