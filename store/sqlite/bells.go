package sqlite

import "sync"

// bells tells followers of a run that events have landed.
type bells struct {
	mu   sync.Mutex
	runs map[string]*bell
}

// bell is rung by closing rung, which is then made anew.
type bell struct {
	followers int
	rung      chan struct{}
}

// listen is followed by as many leave.
func (b *bells) listen(runID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.runs == nil {
		b.runs = map[string]*bell{}
	}
	if b.runs[runID] == nil {
		b.runs[runID] = &bell{rung: make(chan struct{})}
	}
	b.runs[runID].followers++
}

func (b *bells) leave(runID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.runs[runID].followers--; b.runs[runID].followers == 0 {
		delete(b.runs, runID)
	}
}

// next is closed when events land after now. Only who listens may ask.
func (b *bells) next(runID string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.runs[runID].rung
}

func (b *bells) ring(runID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bell := b.runs[runID]; bell != nil {
		close(bell.rung)
		bell.rung = make(chan struct{})
	}
}
