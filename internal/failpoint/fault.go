// Package failpoint is where a build with the tag faults can be broken on purpose, from outside: to kill or stop a process at
// a named point, to cut it off from its peers, to take a promise away. Without the tag nothing of it is in a program.
//
// A build with the tag listens on the Unix socket that REPLICANTE_FAULTS names, and takes
//
//	POST /point?name=NAME&pass=N&do=kill|stop   at the Nth time from now that the point is passed
//	POST /cut?peer=PEER, POST /heal?peer=PEER   nothing comes from or goes to the peer, and nothing says so
//
// and breaks the promises that REPLICANTE_BROKEN lists, by commas.
package failpoint

// Points, in the order in which a decision passes them.
const (
	Elected   = "elected"   // a term has begun, and nothing has been claimed
	Claimed   = "claimed"   // all open runs are claimed, and none goes on
	Decided   = "decided"   // what was decided is not in the store
	Committed = "committed" // it is in the store, and nobody has heard of it
	Sending   = "sending"   // an action's request is about to leave
	Sent      = "sent"      // its agent has accepted it
	Answered  = "answered"  // its agent has told its end, and the run has not heard of it
	Creating  = "creating"  // a run is about to be created
	Created   = "created"   // it is in the store, and has no owner
	Stamping  = "stamping"  // a run has ended, and its records are about to be stamped
)

// Peers that a process can be cut off from.
const (
	Etcd    = "etcd"
	Store   = "store"
	Agents  = "agents"
	Replica = "replica" // the other replicas
)

// Promises that can be broken.
const (
	Deadline = "deadline" // a leader stops before its lease can be over: instead, seconds after it noticed
	Fence    = "fence"    // a stale leader's commits and requests are refused
	Save     = "save"     // an action is saved before it is sent
)
