package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/testenv"
)

func TestTheReferenceListsEveryCommand(t *testing.T) {
	text, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	root := (&tool{}).root()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		path := strings.TrimPrefix(cmd.CommandPath(), "replictl ")
		if cmd == root || cmd.HasSubCommands() {
			return
		}
		if !strings.Contains(string(text), "`"+path+"`") && !strings.Contains(string(text), "`"+path+" ") {
			t.Errorf("docs/reference.md does not list replictl %s", path)
		}
	}
	walk(root)
}

func TestCommandsOfTheDocumentsExist(t *testing.T) {
	for place, words := range testenv.DocumentedCommands(t, "../..", "replictl") {
		root := (&tool{}).root()
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
