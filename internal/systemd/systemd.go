// Package systemd notifies systemd that a daemon is ready, alive and stopping. It does nothing for a daemon that systemd
// has not started.
package systemd

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notify notifies systemd that the daemon is ready, then feeds its watchdog as long as alive returns true, and notifies it
// that the daemon stops when ctx ends. Only then it returns.
func Notify(ctx context.Context, alive func(context.Context) bool) {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // without it the unit fails to start, which systemd logs
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
			checking, cancel := context.WithTimeout(ctx, interval/3)
			if alive(checking) {
				_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
			}
			cancel()
		}
	}
}
