// Package version names the build of the programs.
package version

import (
	"runtime/debug"
	"strings"
)

// number is set by the linker of a release: -X github.com/replicante-io/playbooks/internal/version.number=1.2.3
var number string

// Text returns the version of a release, otherwise what the Go toolchain recorded for the build.
func Text() string {
	if number != "" {
		return number
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return strings.Trim(info.Main.Version, "()")
	}
	return "devel"
}
