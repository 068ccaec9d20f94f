package policy

import (
	"github.com/replicante-io/playbooks/record"
)

const (
	// CommitBytes bounds one commit. Databases bound transactions by bytes and by time, and a leader whose commits take too long loses
	// its lease.
	CommitBytes = 8 << 20
	// recordBytes is what a node's record takes beside the content of its actions.
	recordBytes = 512
)

// room reports whether this Apply may change one more node's record. What has to be done by one decision is done anyway; what can be
// done node by node stops here, and the next Apply, at once, continues it.
func (p *Plan) room() bool { return p.written == 0 || p.written < p.config.CommitBytes }

// postpone leaves a node that may start to the next Apply.
func (p *Plan) postpone(n *node) {
	p.more = true
	p.queue.postponed = append(p.queue.postponed, n)
}

// Weight is about how many bytes an input adds to the commit of its Apply.
func (p *Plan) Weight(input Input) int {
	name, content := "", 0
	switch in := input.(type) {
	case Ended:
		name, content = in.Node, record.Size(in.Payload)+len(in.StdoutTail)+len(in.StderrTail)
	case Accepted:
		name = in.Node
	}
	if n := p.nodes[name]; n != nil {
		return content + n.size()
	}
	return 0
}

// size is about how many bytes the node's record takes.
func (n *node) size() int {
	size := recordBytes
	for i := range n.rec.Actions {
		a := &n.rec.Actions[i]
		size += record.Size(a.Args) + record.Size(a.Payload) + len(a.StdoutTail) + len(a.StderrTail)
	}
	return size
}
