package agent

import (
	"fmt"
	"strconv"

	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/failpoint"
)

const (
	// maxTerm keeps a term exact in any reader of JSON.
	maxTerm = 1 << 53
	// MaxTermJump is how far above the highest term that the agent has seen from an installation (0 before the first) the next
	// may be. Terms grow by one at each election: an agent that was away for years is within it, and a request that a mistake
	// or a stranger made cannot shut the installation's leaders out.
	MaxTermJump = 1 << 20
	// maxInstallations is of how many installations a journal holds the term.
	maxInstallations = 64
	maxName          = 256
)

// fence identifies the sender of a request. The zero fence, of tools that send none, is always admitted.
type fence struct {
	installation string
	term         int64
	journal      string
}

// readFence reads a fence from a request's metadata.
func readFence(metadata map[string]string) (fence, error) {
	f := fence{installation: metadata[wire.MetaInstallation], journal: metadata[wire.MetaJournal]}
	term, given := metadata[wire.MetaTerm]
	if given != (f.installation != "") {
		return f, fmt.Errorf("metadata %s and %s require each other", wire.MetaTerm, wire.MetaInstallation)
	}
	if len(f.installation) > maxName {
		return f, fmt.Errorf("metadata %s is longer than %d bytes", wire.MetaInstallation, maxName)
	}
	if !given {
		return f, nil
	}
	var err error
	if f.term, err = strconv.ParseInt(term, 10, 64); err != nil || f.term < 1 || f.term > maxTerm {
		return f, fmt.Errorf("metadata %s: %q is not a number from 1 to %d", wire.MetaTerm, term, int64(maxTerm))
	}
	return f, nil
}

// admit rejects senders that a later term has replaced, and requests for another journal. A term that is higher than all before
// is in the journal when admit returns nil. The caller holds change.
func (a *Agent) admit(f fence) error {
	f = failpoint.Wrap(failpoint.AgentFence, f)
	highest, known := a.terms[f.installation]
	if f.installation != "" {
		switch {
		case f.term < highest:
			return &wire.Fenced{Reason: wire.FencedTerm, Term: highest, Message: fmt.Sprintf(
				"term %d has ended: this agent has received requests of term %d", f.term, highest)}
		case f.term-highest > MaxTermJump:
			return &wire.Fenced{Reason: wire.FencedTermJump, Term: highest, Message: fmt.Sprintf(
				"term %d is rejected: it is more than %d above term %d, the highest that this agent has received requests of",
				f.term, MaxTermJump, highest)}
		case !known && len(a.terms) >= maxInstallations:
			return &wire.Fenced{Reason: wire.FencedInstallation, Message: fmt.Sprintf(
				"this agent has received requests of %d installations and accepts no others: move its journal away if the old ones no longer exist",
				maxInstallations)}
		case f.term > highest:
			if err := a.journal.write(change{installation: f.installation, term: f.term}); err != nil {
				return fmt.Errorf("write term %d to the journal: %w", f.term, err)
			}
			a.terms[f.installation] = f.term
			highest = f.term
		}
	}
	if f.journal != "" && f.journal != a.journal.id() {
		return &wire.Fenced{Reason: wire.FencedJournal, Term: highest, Message: fmt.Sprintf(
			"the request is for journal %s, and this agent has journal %s", f.journal, a.journal.id())}
	}
	return nil
}
