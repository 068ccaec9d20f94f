package run

import (
	"context"
	"errors"
	"time"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/record"
)

// identifyTimeout bounds the question whose node an agent is of: it may look at its datastore for the answer.
const identifyTimeout = 15 * time.Second

// identify asks an agent whose node it is of before it is sent the action, where no journal says so: a key may have the URL of another
// node's agent. known: it is the right one, or does not name any. Otherwise nothing is sent, and done means that the action has ended.
func (d *dispatcher) identify(ctx context.Context) (done, known bool) {
	if d.Action.JournalID != "" || d.identified {
		return false, true
	}
	call, cancel := context.WithTimeout(ctx, identifyTimeout)
	defer cancel()
	d.asked, d.held = time.Now(), identifyTimeout-callTimeout
	info, err := d.agents.NodeInfo(call, d.URL)
	switch {
	case err == nil && (info.NodeID == "" || info.NodeID == d.Node):
		d.identified = true
		return false, true
	case err == nil:
		d.refused(record.CodeUnreachable, record.Document{"agent_url": d.URL, "other_node": record.CleanText(info.NodeID, record.MaxName)})
		return true, false
	case d.neverSent(err):
		d.unreachable(err)
		return true, false
	}
	d.failed(err)
	if !d.sent && !errors.Is(err, wire.ErrCannotCall) && ctx.Err() == nil && time.Since(d.failing) > d.patience {
		d.unreachable(err)
		return true, false
	}
	return false, false
}
