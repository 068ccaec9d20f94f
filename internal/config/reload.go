package config

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

// Hangups receives the signals SIGHUP. From the call on they no longer end the program.
func Hangups() <-chan os.Signal {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups
}

// ReloadLogLevel sets the level of log to that of the configuration at each hangup, until ctx ends. read reads the configuration.
func ReloadLogLevel(ctx context.Context, hangups <-chan os.Signal, log hclog.Logger, read func() (Log, error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		configured, err := read()
		if err != nil {
			log.Error("configuration cannot be read again; the log level stays as it is", "error", err)
			continue
		}
		log.SetLevel(hclog.LevelFromString(configured.Level))
		log.Info("configuration was read again", "log_level", configured.Level)
	}
}
