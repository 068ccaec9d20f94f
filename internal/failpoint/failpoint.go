// Package failpoint names the points of production code at which tests act from outside: they kill or stop the process
// there, cut it off from a peer, or put a weaker implementation in the place of the real one. Only a build with the tag
// failpoints has them: without it, Point does nothing, and Dial and Wrap return what they are given.
//
// A build with the tag listens on the Unix socket that REPLICANTE_FAILPOINTS names, and accepts
//
//	POST /point?name=NAME&nth=N&do=kill|stop       kill or stop the process the Nth time from now that it passes the point
//	POST /disconnect?peer=PEER                     drop everything to and from the peer, without closing connections
//	POST /reconnect?peer=PEER                      deliver it again
//	POST /clock?by=DURATION                        put the wall clock so far from that of the machine
//
// It breaks the promises that REPLICANTE_BREAK lists, separated by commas.
package failpoint

// Points, in the order in which a decision passes them.
const (
	Elected   = "elected"   // a term has begun; no run is claimed
	Claimed   = "claimed"   // all open runs are claimed; none has been advanced
	Decided   = "decided"   // a decision was made; it is not in the store
	Committed = "committed" // the decision is in the store; no effect of it has begun
	Sending   = "sending"   // the request of an action is about to leave
	Sent      = "sent"      // the agent has accepted the action
	Answered  = "answered"  // the agent has reported the end of the action; the run does not know it
	Creating  = "creating"  // a run is about to be created
	Created   = "created"   // the run is in the store; nothing advances it
	Stamping  = "stamping"  // a run has ended; its records are about to be stamped
)

// Peers that a process can be cut off from.
const (
	Etcd    = "etcd"
	Store   = "store"
	Agents  = "agents"
	Replica = "replica" // the other replicas
)

// Values that a build with the tag may replace.
const (
	EtcdOptions   = "etcd options"   // of the client of etcd
	StoreOptions  = "store options"  // of the client of MongoDB
	StoreCalls    = "store calls"    // the store of a replica
	LeaderContext = "leader context" // of the work of a leader
	AgentFence    = "agent fence"    // what an agent reads about the sender of a request
)

// Promises that tests can break, to prove that they notice.
const (
	Deadline = "deadline" // a leader stops before its lease can end; broken, it stops seconds after it noticed
	Fence    = "fence"    // commits and requests of an earlier leader are refused; broken, they are accepted
	Save     = "save"     // an action is saved before it is sent; broken, it is saved at about the same time
)
