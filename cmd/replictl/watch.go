package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

const (
	// readInterval is how often a run of which there are new events is read again at most.
	readInterval = 200 * time.Millisecond
	// drawInterval is how often a run without new events is drawn again: its age changes.
	drawInterval = time.Second
	readTimeout  = 3 * time.Second
)

// watcher shows one run until it ends. Its fields are used by the goroutine that calls watch only.
type watcher struct {
	client *client.Client
	runID  string
	now    func() time.Time
	// returnsBlocked ends the watch when only an operator can move the run.
	returnsBlocked bool
	live           *live        // draws the run, if not nil
	lines          io.Writer    // gets one line per event, if not nil
	note           func(string) // where nothing is drawn: prints what keeps the stream of events

	shown   view
	lastSeq int64     // of the events that were received
	stale   bool      // there are events since the run was read
	drawn   time.Time // zero: draw again at once
}

// stream is called by the goroutine that follows the stream of events: interrupted with nil when the stream is open again,
// waiting with "" when the control plane's store answers again.
type stream struct {
	interrupted func(error)
	waiting     func(message string)
}

// watch shows the run until it ends, or until it is blocked where that ends the watch, and returns the run as it is then. connect
// gives the client what it calls about its stream.
func (w *watcher) watch(ctx context.Context, connect func(stream)) (record.Run, error) {
	run, err := w.client.Run(ctx, w.runID)
	if err != nil {
		return run, err
	}
	w.shown, w.stale = view{run: run}, true

	ctx, cancel := context.WithCancel(ctx)
	var follower sync.WaitGroup
	defer follower.Wait()
	defer cancel()
	updates, ended := make(chan func()), make(chan error, 1)
	send := func(update func()) error {
		select {
		case updates <- update:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	connect(stream{
		interrupted: func(err error) { _ = send(func() { w.streamInterrupted(err) }) }, // an error: the watch ends anyway
		waiting:     func(message string) { _ = send(func() { w.streamWaits(message) }) },
	})
	after := w.lastSeq
	follower.Go(func() {
		ended <- w.client.Follow(ctx, w.runID, after, func(event record.Event) error {
			return send(func() { w.event(event) })
		})
	})
	return w.show(ctx, updates, ended)
}

// show carries out updates, in the order of the stream, until the stream has ended or the run is blocked.
func (w *watcher) show(ctx context.Context, updates <-chan func(), ended <-chan error) (record.Run, error) {
	tick := time.NewTicker(readInterval)
	defer tick.Stop()
	for {
		select {
		case update := <-updates:
			update()
		case <-tick.C:
			w.refresh(ctx)
			if w.returnsBlocked && blocked(w.shown.run) && w.lastSeq >= w.shown.run.Seq {
				return w.shown.run, nil
			}
		case err := <-ended:
			if err != nil {
				return w.shown.run, err
			}
			return w.finish(ctx)
		}
	}
}

// blocked tells whether only an operator can move the run.
func blocked(run record.Run) bool {
	return run.State == record.RunPaused || waitsForApproval(&run)
}

func (w *watcher) event(event record.Event) {
	w.lastSeq, w.stale = event.Seq, true
	if w.lines != nil {
		if event.Type != record.EventRunWaiting || text(event.Data, "message")+text(event.Data, "state") != "" { // what happens next says that it continues
			_, _ = fmt.Fprintln(w.lines, eventLine(event))
		}
	}
}

func (w *watcher) streamInterrupted(err error) {
	w.shown.lost, w.drawn = err, time.Time{}
	var answer *client.Error
	if w.note != nil && errors.As(err, &answer) {
		w.streamWaits(answer.Message)
	}
}

func (w *watcher) streamWaits(message string) {
	if w.note != nil && (message == "") != (w.shown.streamWaits == "") {
		w.note(waitingText(message, ""))
	}
	w.shown.streamWaits, w.drawn = message, time.Time{}
}

// refresh reads the run again if there are events since, and draws it when that is due.
func (w *watcher) refresh(ctx context.Context) {
	if w.stale {
		w.read(ctx)
		w.stale, w.drawn = false, time.Time{}
	}
	if w.live != nil && w.now().Sub(w.drawn) >= drawInterval {
		w.live.draw(func(width int) []string {
			return append(draw(w.shown, width, maxReasonLines, w.now()), suggestionLines(afterRun(w.shown), width)...)
		})
		w.drawn = w.now()
	}
}

// read reads the run. Where no server answers in time, what is known stays.
func (w *watcher) read(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	run, err := w.client.Run(ctx, w.runID)
	if err != nil {
		return
	}
	w.shown.run = run
	_ = w.shown.readUnwell(ctx, w.client) // the next read finds them
}

// finish shows the run as it ended.
func (w *watcher) finish(ctx context.Context) (record.Run, error) {
	run, err := w.client.Run(ctx, w.runID)
	if err != nil {
		return run, err
	}
	w.shown = view{run: run}
	_ = w.shown.readUnwell(ctx, w.client) // they only add to what is shown
	if w.live != nil {
		w.live.draw(func(width int) []string { return draw(w.shown, width, maxReasonLines, w.now()) })
	}
	return run, nil
}
