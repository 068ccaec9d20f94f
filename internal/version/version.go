// Package version says which build of the programs this is.
package version

import (
	"runtime/debug"
	"strings"
)

// number is set by the linker of a release: -X github.com/replicante-io/playbooks/internal/version.number=1.2.3
var number string

// Text is the version of a release, else what the Go toolchain knows of the build.
func Text() string {
	if number != "" {
		return number
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return strings.Trim(info.Main.Version, "()")
	}
	return "devel"
}
