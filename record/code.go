package record

// Codes of errors, stable for programs. An agent's error keeps the code that its agent gave.
const (
	// Of actions.
	CodeTimeout        = "timeout"         // the attempt did not end within its step's timeout
	CodeCancelled      = "cancelled"       // of a run too: an operator cancelled it
	CodeExit           = "exit"            // the command ended with another status than 0
	CodeFailed         = "failed"          // the agent gave no code
	CodeExpect         = "expect_false"    // the expect of its step is false; data.expect, data.values, data.failed_with
	CodeLost           = "lost"            // it was running when its agent's earlier life ended
	CodeNeverStarted   = "never_started"   // it was only queued then
	CodeBadPayload     = "bad_payload"     // its agent answered with a payload that cannot be stored
	CodeBadArgs        = "bad_args"        // its arguments, once their expressions are resolved, cannot be stored
	CodeRejected       = "rejected"        // the agent does not know the kind, or cannot read the arguments
	CodeUnreachable    = "unreachable"     // the agent does not answer; nothing was sent
	CodeUnknown        = "unknown"         // nobody knows how, or whether, it ended
	CodeNodeLost       = "node_lost"       // its node's key is gone and its agent does not answer
	CodeForgotten      = "forgotten"       // the agent no longer knows what it had accepted
	CodeJournalChanged = "journal_changed" // the agent has lost its journal
	CodeTermRefused    = "term_refused"    // the agent refuses this leader for a term that is not believed
	CodeConflict       = "conflict"        // the agent has another action under this ID

	// Of nodes.
	CodeHealthTimeout  = "health_timeout"  // not healthy in time after its steps
	CodeUnsettled      = "unsettled"       // an earlier action may still be running on it
	CodeRollbackFailed = "rollback_failed" // data.stage, data.error: the stage could not be rolled back on it
	CodeCleanupFailed  = "cleanup_failed"  // data.stage, data.error: a stage with always has failed on it

	// Of actions and nodes, which keep everything but the content that is the reason.
	CodeRecordTooLarge = "record_too_large" // the node's record would be larger than MaxRecord

	// Of actions, nodes and runs.
	CodeNotStorable = "record_not_storable" // the store does not take the record

	// Of nodes, stages and runs.
	CodeExpression  = "expression_error" // an expression failed for another reason than an absent fact
	CodeFactsAbsent = "facts_absent"     // an expression waited in vain for a fact of a node that answers
	CodeUndecidable = "undecidable"      // the same of a node that does not answer, or whose datastore is down

	// Of stages and runs.
	CodeNoTargets        = "no_targets"        // a stage is for no node
	CodeGuardTimeout     = "guard_timeout"     // the guard of a stage did not hold in time
	CodeMaxFailures      = "max_failures"      // more nodes failed than a stage allows
	CodePickTooFew       = "pick_too_few"      // a stage cannot pick as many nodes any longer as it has to; data.picked is how many it can at most
	CodeNodesFailed      = "nodes_failed"      // the run went to its end, and nodes failed
	CodeNodesLeft        = "nodes_left"        // a retry went to its end, and nodes are not done that it was not for; data.nodes
	CodeApprovalRejected = "approval_rejected" // an operator rejected the run, or a stage of it
	CodeApprovalTimeout  = "approval_timeout"  // nobody approved in time
	CodeRunTimeout       = "run_timeout"       // the run took longer than its playbook allows: it pauses
	CodeNodeAdded        = "node_added"        // a node appeared, and the playbook says pause or fail
	CodeNodeRemoved      = "node_removed"      // a node went away, and the playbook says pause or fail

	// Of plans.
	CodePlanTime    = "plan_time"    // there was not enough time for the whole plan; data.within
	CodePlanEndless = "plan_endless" // the run would wait forever, or not end: data.steps, data.stage, data.wait
)

// Causes of states that are no failures of their own: why a node's record ended as it did, why a node is not healthy, why something
// waits.
const (
	CauseNoStage       = "no_stage"       // no stage was for the node
	CauseNotPicked     = "not_picked"     // the stage had picked enough nodes before it came to this one
	CauseSubset        = "subset"         // the run was restricted to others; data.where, data.named, data.error
	CauseRunFailed     = "run_failed"     // the run failed first
	CauseRunCancelled  = "run_cancelled"  // the run was cancelled first
	CauseBeforeStep    = "before_step"    // data.stage, data.step: where the node was when the run ended
	CauseBeforeHealth  = "before_health"  // data.stage: the same, before the stage's health was checked
	CauseBetween       = "between_stages" // data.after: it has passed that stage, and waits for its next
	CauseJoined        = "joined"         // the node appeared during the run; data.policy where that left it out
	CauseRemoved       = "removed"        // its key is gone and its agent does not answer
	CauseRetried       = "retried"        // an operator has it begin again where it was
	CauseReopened      = "reopened"       // data.pass, data.stage: it takes part in a rollback or a cleanup
	CauseReturned      = "returned"       // the node was removed and is back
	CauseResolved      = "resolved"       // an operator decided
	CauseNodeForgotten = "node_forgotten" // an operator forgot the node: what might still run on it is written off

	CauseNoAnswer   = "no_answer"   // the agent did not answer in time
	CauseStatus     = "status"      // data.status
	CauseCheckFalse = "check_false" // data.check, data.status
	CauseNotEnded   = "not_ended"   // the agent has not said that the action has ended
	CauseNotSettled = "not_settled" // it has not been healthy for long enough

	CauseKeyGone = "key_gone" // the node's key is gone: it counts as removed when the wait ends
	CauseLocked  = "locked"   // data.run has the node locked
	// As many nodes are out as the stage allows: data.out, of data.nodes; data.named (some): node, status, run, unsettled.
	CauseMaxUnavailable = "max_unavailable"
)

// Codes of rejected requests.
const (
	CodeNotRetried       = "not_retried"        // data.run, data.node, data.state, data.why: state, unsettled, removed or stage
	CodeNothingToRetry   = "nothing_to_retry"   // data.run, data.state, data.unsettled
	CodeWrongState       = "wrong_state"        // data.verb, data.state, data.allowed
	CodeNotSupported     = "not_supported"      // data.verb
	CodeNoSuchNode       = "not_found"          // data.run, data.node
	CodeBadValue         = "bad_value"          // data.field, data.allowed
	CodeUnknownFeature   = "unknown_feature"    // problems; data.run, or data.playbook and data.revision
	CodeFrozen           = "frozen"             // data.cluster, data.freeze, data.why, data.until
	CodeClusterBusy      = "cluster_busy"       // data.cluster, data.run
	CodePlaybookNotFound = "playbook_not_found" // data.playbook, data.revision
	CodeBadParams        = "bad_params"         // problems
	CodeNoNodes          = "no_nodes"           // data.cluster
	CodeBadWhere         = "bad_where"          // problems
	CodeUnknownNodes     = "unknown_nodes"      // data.cluster, data.nodes (some), data.count
	CodeNoneSelected     = "none_selected"      // data.cluster, data.where, data.of
	CodeNodesUndecided   = "nodes_undecided"    // data.cluster, data.where; data.undecided (some): node, error, status, status_reason; data.count
	CodeUnknownAction    = "unknown_action"     // data.cluster; data.unknown: action, stage, step, nodes (some), count, of; data.known
	CodeNodePresent      = "node_present"       // data.cluster, data.node
	CodeNotLeading       = "no_leader"          // the leader is changing
)
