package cluster

import (
	"context"
	"sync"

	"github.com/replicante-io/playbooks/record"
)

// AskActions asks the agents of nodes which kinds of actions they know, until ctx ends. A node that has no answer by then, or whose agent
// does not know the question, is not in what it returns.
func (v *Inventory) AskActions(ctx context.Context, nodes []record.Node) map[string][]string {
	var mu sync.Mutex
	answers := map[string][]string{}
	var group sync.WaitGroup
	group.Add(len(nodes))
	for _, n := range nodes {
		v.limiter.Do(ctx, n.ClusterID, func() {
			defer group.Done()
			if info, err := v.Agents.ActionsInfo(ctx, n.AgentURL); err == nil && info.Kinds != nil {
				mu.Lock()
				answers[n.NodeID] = info.Kinds
				mu.Unlock()
			}
		}, group.Done)
	}
	group.Wait()
	return answers
}
