package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
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
