package testenv

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var codeSpan = regexp.MustCompile("`([^`\n]+)`")

// DocumentedCommands are the command lines of a program in the documents below root, each with its place, as lists of words.
func DocumentedCommands(t testing.TB, root, program string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "examples/*/README.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			fenced := false
			for _, line := range strings.Split(string(text), "\n") {
				if strings.HasPrefix(strings.TrimSpace(line), "```") {
					fenced = !fenced
					continue
				}
				commands := []string{line}
				if !fenced {
					commands = nil
					for _, span := range codeSpan.FindAllStringSubmatch(line, -1) {
						commands = append(commands, span[1])
					}
				}
				for _, command := range commands {
					if words := wordsOf(command, program); words != nil {
						found[file+": "+strings.TrimSpace(command)] = words
					}
				}
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("the documents name no command of %s", program)
	}
	return found
}

// wordsOf are the words after the program's name in a command line; nil where it is not one of the program.
func wordsOf(command, program string) []string {
	command, _, _ = strings.Cut(command, " #")
	command, _, _ = strings.Cut(command, "; ")
	words := strings.Fields(strings.ReplaceAll(command, `\|`, "|"))
	if len(words) < 2 || words[0] != program && words[0] != "bin/"+program {
		return nil
	}
	return words[1:]
}
