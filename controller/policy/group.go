package policy

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/replicante-io/playbooks/record"
)

// group is what follows from the records of a group of the open stage.
type group struct {
	key      string
	index    int      // in the stage's record
	pending  []string // nodes that no batch has taken, sorted; may hold some that are not pending any longer
	chosen   []string // nodes that are locked for the batch and have not entered it
	locking  bool     // the next batch waits for its nodes to be locked
	asked    int      // how many those are
	blocked  []string // the nodes that could not be locked for it
	working  int      // members of the open batch that have steps before them
	passed   int      // members that passed all steps and wait for the gate
	seen     *facts   // the last facts that the open gate has seen
	notAfter *any     // the next batch takes no node that is later by order_by; nil: any
	decided  bool     // the gate has decided on them, for more nodes than one commit should hold
}

func (g *group) count(state record.NodeStageState, by int) {
	switch {
	case state == record.NodeStagePassed || state == record.NodeStageChecking:
		g.passed += by
	case state.InBatch():
		g.working += by
	}
}

func (p *Plan) groupRecord(g *group) *record.StageGroup { return &p.stage().Groups[g.index] }

// progressGroup takes one decision about a group of the open stage.
func (p *Plan) progressGroup(g *group) bool {
	rec := p.groupRecord(g)
	if rec.State == record.GroupIdle {
		if w := rec.Waiting; w != nil && w.For == record.WaitPause {
			if p.now.Before(*w.Until) && p.anyPending() {
				return false
			}
			p.replaceWait(&rec.Waiting, nil)
		}
		if p.dropTaken(g); len(g.pending) == 0 || p.wanted() == 0 {
			return false
		}
		if !g.locking && !p.mayOpenBatch() {
			g.blocked = nil // awaitWindows follows
			return false
		}
		return p.openBatch(g)
	}
	if p.enterBatch(g) {
		return true
	}
	if g.working > 0 || len(g.chosen) > 0 || p.more {
		return false
	}
	if g.passed > 0 {
		return p.gate(g)
	}
	p.closeBatch(g)
	return true
}

// closeBatch ends the open batch: all its nodes have ended their part.
func (p *Plan) closeBatch(g *group) {
	rec := p.groupRecord(g)
	rec.State, rec.Size, rec.Waiting, g.seen, g.decided = record.GroupIdle, 0, nil, nil, false
	p.pending.run = true
	p.event(record.EventBatchFinished, "", p.stageSpec().Name, "", p.batchData(g))
	if p.stageSpec().BatchPause > 0 && p.anyPending() {
		until := p.now.Add(p.stageSpec().BatchPause)
		rec.Waiting = &record.Wait{For: record.WaitPause, Since: p.now, Until: &until, Stage: p.stageSpec().Name,
			Data: record.Document{"batch_pause": p.stageSpec().BatchPause.String()}}
	}
}

func (p *Plan) batchData(g *group) record.Document {
	data := record.Document{"batch": int64(p.groupRecord(g).Batch)}
	if g.key != "" {
		data["group"] = g.key
	}
	return p.passData(data)
}

// members are the nodes of the group's open batch that wait for its gate, by name.
func (p *Plan) members(g *group) []*node {
	members := make([]*node, 0, g.passed)
	for _, name := range p.names {
		n := p.nodes[name]
		if e := n.batchEntry(); e != nil && e.Group == g.key && (e.State == record.NodeStagePassed || e.State == record.NodeStageChecking) {
			members = append(members, n)
		}
	}
	return members
}

func later(t time.Time, d time.Duration) *time.Time {
	t = t.Add(d)
	return &t
}

// addPending puts a node among those that no batch of the group has taken.
func (p *Plan) addPending(g *group, n *node) {
	if at, found := slices.BinarySearchFunc(g.pending, n.rec.Node, record.CompareIDs); !found {
		g.pending = slices.Insert(g.pending, at, n.rec.Node)
	}
}

// maxGroupKey bounds the value by which nodes are grouped, in bytes.
const maxGroupKey = 256

// groupOf is the key of the group of a node of the open stage; empty where the stage has no groups.
func (p *Plan) groupOf(n *node, seen *facts) (string, error) {
	groups := p.stageSpec().Groups
	if groups == nil {
		return "", nil
	}
	value, err := groups.By.Value(p.vars(n, seen))
	if err != nil {
		return "", err
	}
	key := ""
	switch v := value.(type) {
	case string:
		key = v
	case int64:
		key = strconv.FormatInt(v, 10)
	case bool:
		key = strconv.FormatBool(v)
	default:
		return "", fmt.Errorf("expression %s returns neither a string nor an integer nor true or false", groups.By)
	}
	if len(key) > maxGroupKey {
		return "", fmt.Errorf("expression %s returns a text of more than %d bytes", groups.By, maxGroupKey)
	}
	return key, nil
}
