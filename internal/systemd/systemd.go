// Package systemd tells systemd how a daemon is, where it was started by it; elsewhere it does nothing.
package systemd

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Watch says that the daemon is ready, feeds the watchdog while alive says so, and says that the daemon stops when ctx
// ends.
func Watch(ctx context.Context, alive func(context.Context) bool) {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // systemd will say so if it heard nothing
	defer func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) }()
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			asking, cancel := context.WithTimeout(ctx, interval/3)
			if alive(asking) {
				_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
			}
			cancel()
		}
	}
}
