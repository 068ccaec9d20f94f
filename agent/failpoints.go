//go:build failpoints

package agent

import "github.com/replicante-io/playbooks/internal/failpoint"

func init() {
	if failpoint.Broken(failpoint.Fence) {
		failpoint.Replace(failpoint.AgentFence, func(f fence) fence { return fence{journal: f.journal} })
	}
}
