// Package faults breaks an installation of several processes, in every way that it must survive, and repairs it. Which faults
// happen when follows from a seed; which process leads, or is the primary, is found out when a fault is injected.
package faults

import (
	"fmt"
	"time"
)

// Action is what is done to a process.
type Action string

// The actions. A process that was killed or terminated is started again when the fault ends.
const (
	Kill        Action = "kill"       // SIGKILL
	Terminate   Action = "terminate"  // SIGTERM
	Freeze      Action = "freeze"     // SIGSTOP, then SIGCONT
	Disconnect  Action = "disconnect" // from a peer
	KillAtPoint Action = "kill at"    // a failpoint
	StopAtPoint Action = "stop at"    // a failpoint
	SlowProbe   Action = "slow probe of"
	StepClock   Action = "step clock of" // and step it back
	Hostile     Action = "hostile"       // values in everything that it says
)

// Targets of faults.
const (
	Leader       = "leader"
	Follower     = "follower"
	Agent        = "agent"
	BusyAgent    = "busy agent" // one that executes a command, if there is any soon
	GentleAgent  = "gentle agent"
	ForeignAgent = "foreign agent"
	// NextLeader is whichever replica follows the leader, which is killed.
	NextLeader   = "next leader"
	EtcdMember   = "etcd"
	EtcdQuorum   = "etcd quorum"
	Primary      = "primary"
	Secondary    = "secondary"
	MongodQuorum = "mongod quorum"
)

// Fault is one thing that is broken, and repaired after a while.
type Fault struct {
	At     time.Duration // after the beginning
	Track  string        // the faults of a track follow each other
	Action Action
	Target string
	Peer   string // of a Disconnect
	Point  string // of KillAtPoint and StopAtPoint
	// Nth chooses among the processes that are the target; for a failpoint it is the time that the point is passed.
	Nth   int
	By    time.Duration // of a StepClock; how long the probe of a SlowProbe takes
	Lasts time.Duration
}

// Kind names faults that are alike.
func (f Fault) Kind() string {
	switch f.Action {
	case Disconnect:
		return fmt.Sprintf("%s %s from %s", f.Action, f.Target, f.Peer)
	case KillAtPoint:
		return fmt.Sprintf("kill %s at %s", f.Target, f.Point)
	case StopAtPoint:
		return fmt.Sprintf("stop %s at %s", f.Target, f.Point)
	}
	return fmt.Sprintf("%s %s", f.Action, f.Target)
}

func (f Fault) String() string {
	text := fmt.Sprintf("%7.1fs  %s for %s", f.At.Seconds(), f.Kind(), f.Lasts)
	if f.By != 0 {
		text += fmt.Sprintf(", by %s", f.By)
	}
	if f.Nth > 0 {
		text += fmt.Sprintf(" (%d)", f.Nth)
	}
	return text
}

// atPoint reports whether the fault happens at a failpoint.
func (f Fault) atPoint() bool { return f.Action == KillAtPoint || f.Action == StopAtPoint }
