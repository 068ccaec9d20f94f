package policy

import (
	"container/heap"
	"time"
)

// timer wakes a node, or the run when its name is "".
type timer struct {
	at   time.Time
	node string
}

type timers []timer

func (t timers) Len() int { return len(t) }

func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }

func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

func (t *timers) Push(x any) { *t = append(*t, x.(timer)) }

func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	*t = old[:len(old)-1]
	return last
}

func (p *Plan) wakeAt(at time.Time, node string) {
	heap.Push(&p.timers, timer{at, node})
}

// timeouts touches whatever was to be looked at by now.
func (p *Plan) timeouts() {
	for len(p.timers) > 0 && !p.timers[0].at.After(p.now) {
		due := heap.Pop(&p.timers).(timer)
		if n := p.nodes[due.node]; n != nil {
			p.touch(n)
			p.checkGone(n)
		}
	}
}
