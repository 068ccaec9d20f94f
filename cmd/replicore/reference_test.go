package main

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/testenv"
)

func TestCommandsOfTheDocumentsExist(t *testing.T) {
	for place, words := range testenv.DocumentedCommands(t, "../..", "replicore") {
		root, _ := command(nil)
		cmd, rest, err := root.Find(words)
		if err != nil {
			t.Errorf("%s: %v", place, err)
			continue
		}
		if cmd.HasSubCommands() && len(rest) > 0 && rest[0] != "…" && !strings.HasPrefix(rest[0], "-") {
			t.Errorf("%s: there is no %s %s", place, cmd.CommandPath(), rest[0])
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("%s: %v", place, err)
		}
	}
}
