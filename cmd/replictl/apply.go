package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

func (t *tool) apply() *cobra.Command {
	var names []string
	cmd := &cobra.Command{Use: "apply -f FILE…", Short: "Store playbooks, schedules and freezes: all of them, or none", Args: cobra.ArbitraryArgs,
		Long: "Store the playbooks, schedules and freezes in files: all of them, or none if one has a problem. A file may contain several documents;\n" +
			"- is the standard input; of a folder, the .yaml, .yml and .json files are read. What has not changed since it\n" +
			"was applied gets no new revision.",
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := t.files(append(names, args...))
			if err != nil {
				return err
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			items, err := c.Apply(cmd.Context(), files)
			if err != nil {
				return err
			}
			return t.list(items, "KIND\tNAME\tREVISION\tVERSION\tRESULT", len(items), func(i int) []string {
				result := "unchanged"
				if items[i].Created {
					result = "created"
				}
				return []string{items[i].Kind, items[i].Name, strconv.FormatInt(items[i].Revision, 10), dash(items[i].Version), result}
			})
		}}
	cmd.Flags().StringSliceVarP(&names, "file", "f", nil, "a `file` or folder, or - for the standard input; repeatable")
	return cmd
}

// files reads the files with these names, and those in the folders with these names.
func (t *tool) files(names []string) ([]client.File, error) {
	if len(names) == 0 {
		return nil, usagef("no file is given: name files with -f")
	}
	var files []client.File
	for _, name := range names {
		if name == "-" {
			data, err := io.ReadAll(t.in)
			if err != nil {
				return nil, fmt.Errorf("read the standard input: %w", err)
			}
			files = append(files, client.File{Name: "stdin", Data: data})
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, unreadable(name, err)
		}
		paths := []string{name}
		if info.IsDir() {
			paths = nil
			for _, pattern := range []string{"*.json", "*.yaml", "*.yml"} {
				found, _ := filepath.Glob(filepath.Join(escape(name), pattern)) // the pattern is well formed
				paths = append(paths, found...)
			}
			if len(paths) == 0 {
				return nil, fmt.Errorf("%s contains no .yaml, .yml or .json file", name)
			}
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, unreadable(path, err)
			}
			if len(data) > record.MaxPlaybookText { // the server might refuse it without having read its name
				return nil, fmt.Errorf("%s:1:1: the text has %d bytes; a file of documents can have at most %d", path, len(data), record.MaxPlaybookText)
			}
			files = append(files, client.File{Name: path, Data: data})
		}
	}
	return files, nil
}

func escape(folder string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(folder)
}

func unreadable(name string, err error) error {
	if cause, ok := err.(*fs.PathError); ok {
		err = cause.Err
	}
	return fmt.Errorf("read %s: %w", name, err)
}
