package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/semaphore"
)

// ErrBusy means that a request's body is not read because there was no room for it in time.
var ErrBusy = fmt.Errorf("too many large requests are being received: %w", os.ErrDeadlineExceeded)

const (
	// freeBody is how much of a body is read without waiting for others: commands for runs and actions are smaller.
	freeBody = 16 << 10
	// largeBodies is how many bodies of the greatest size are read at a time.
	largeBodies = 16
)

// body is a request's body. The part of it above freeBody is read once there is room for it among the bodies of all requests:
// readers keep what they have read.
type body struct {
	io.ReadCloser
	ctx     context.Context // of the request
	control *http.ResponseController
	timeout time.Duration
	room    *semaphore.Weighted
	size    int64 // at most

	read int64
	held int64 // of room
}

func newBody(r *http.Request, control *http.ResponseController, config *ServerConfig, room *semaphore.Weighted) *body {
	b := &body{ReadCloser: r.Body, ctx: r.Context(), control: control, timeout: config.BodyTimeout, room: room, size: config.MaxBody}
	if r.ContentLength >= 0 {
		b.size = min(b.size, r.ContentLength)
	}
	b.extend()
	return b
}

// extend gives the body's sender its time. Recorders of tests have no deadlines.
func (b *body) extend() { _ = b.control.SetReadDeadline(time.Now().Add(b.timeout)) }

// Read reads the body. The deadline for it must not outlive it: it would end a long answer.
func (b *body) Read(p []byte) (int, error) {
	if b.held == 0 && b.size > freeBody {
		if b.read >= freeBody {
			if err := b.wait(); err != nil {
				return 0, err
			}
		} else {
			p = p[:min(int64(len(p)), freeBody-b.read)]
		}
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// wait waits for room for the whole body, as long as its sender could take to send it.
func (b *body) wait() error {
	ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
	defer cancel()
	if b.room.Acquire(ctx, b.size) != nil {
		return ErrBusy
	}
	b.held = b.size
	b.extend()
	return nil
}

// release gives its room to others, once the request has been answered.
func (b *body) release() { b.room.Release(b.held) }
