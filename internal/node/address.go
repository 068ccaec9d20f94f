package node

import (
	"context"
	"fmt"
	"time"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/internal/retry"
)

// addressTimeout bounds one check of the agent's URL, beside what the probe may take, for whose end the answer may have to wait twice.
const addressTimeout = 2 * time.Second

// checkAddress calls the agent under its own URL until it answers there or ctx ends. While it does not, the log and the node's
// status_reason say so. That is no more than a warning: in some networks only the machine itself cannot use its URL.
func (n *Node) checkAddress(ctx context.Context) {
	agents := client.New(client.Config{DialTimeout: addressTimeout})
	defer agents.Close()
	for backoff := retry.New(time.Second, time.Minute); ; {
		err := n.callSelf(ctx, agents)
		if ctx.Err() != nil {
			return
		}
		warning := ""
		if err != nil {
			warning = fmt.Sprintf("the agent does not reach itself at api.advertise: %v; correct api.advertise, unless only this machine "+
				"cannot reach it there", err)
		}
		if n.setWarning(warning) && err != nil {
			n.config.Log.Warn("the agent does not reach itself at api.advertise: where the control plane does not either, no action reaches the "+
				"node; correct api.advertise, unless only this machine cannot reach it there", "url", n.config.URL, "error", err)
		} else if err == nil {
			n.config.Log.Info("the agent reaches itself at api.advertise", "url", n.config.URL)
		}
		if err == nil || !backoff.Wait(ctx) {
			return
		}
	}
}

// callSelf calls the agent's URL. The error says why what answers is not this agent.
func (n *Node) callSelf(ctx context.Context, agents *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, addressTimeout+2*n.config.Agent.ProbeTimeout)
	defer cancel()
	info, err := agents.NodeInfo(ctx, n.config.URL)
	if own := n.config.Agent; err == nil && (info.NodeID != own.NodeID || info.ClusterID != own.ClusterID) {
		return fmt.Errorf("at %s the agent of node %q of cluster %q answers", n.config.URL, info.NodeID, info.ClusterID)
	}
	return err
}

// warning is what is wrong with the URL of the agent, "" for nothing that is known.
func (n *Node) warning() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.warned
}

// setWarning has the node's key say the warning at once. It returns whether it is another than before.
func (n *Node) setWarning(warning string) (changed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.warned == warning {
		return false
	}
	n.warned = warning
	n.said.StatusReason = agent.JoinReasons(n.warned, n.reason)
	if n.registrar != nil {
		n.registrar.UpdateAtOnce(n.said)
	}
	return true
}
