package run

import (
	"context"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// identifyTimeout bounds the question whose node an agent is of.
const identifyTimeout = 5 * time.Second

// identify asks an agent whose node it is of before it is sent the action, where no journal says so: a key may have the URL of another
// node's agent. It is true when the action has ended instead.
func (d *dispatcher) identify(ctx context.Context) (ended bool) {
	if d.Action.JournalID != "" || d.identified {
		return false
	}
	call, cancel := context.WithTimeout(ctx, identifyTimeout)
	defer cancel()
	d.asked, d.held = time.Now(), 0
	info, err := d.agents.NodeInfo(call, d.URL)
	switch {
	case err == nil && (info.NodeID == "" || info.NodeID == d.Node):
		d.identified = true
		return false
	case err == nil:
		d.refused(record.CodeUnreachable, record.Document{"agent_url": d.URL, "other_node": record.CleanText(info.NodeID, record.MaxName)})
		return true
	case d.neverSent(err):
		d.unreachable(err)
		return true
	}
	return false // who cannot say whose it is may still be the right one; whether it can be reached, the POST tells
}
