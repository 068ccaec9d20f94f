package config

import (
	"io"

	"github.com/hashicorp/go-hclog"
)

// Logger returns a logger as configured, which writes to w.
func (l Log) Logger(name string, w io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: name, Level: hclog.LevelFromString(l.Level), JSONFormat: l.Format == "json", Output: w,
		TimeFormat: "2006-01-02T15:04:05.000Z07:00",
	})
}
