package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"
)

// contextsFile is a file of the operator: named sets of settings, one of them current.
type contextsFile struct {
	Current  string                 `yaml:"current,omitempty"`
	Contexts map[string]contextKeys `yaml:"contexts,omitempty"`
}

type contextKeys struct {
	Server  string `yaml:"server,omitempty" json:"server"`
	Cluster string `yaml:"cluster,omitempty" json:"cluster,omitempty"`
	Output  string `yaml:"output,omitempty" json:"output,omitempty"`
	Token   string `yaml:"token,omitempty" json:"-"`
}

func (c contextKeys) keys() map[string]any {
	keys := map[string]any{}
	for key, value := range map[string]string{"server": c.Server, "cluster": c.Cluster, "output": c.Output, "token": c.Token} {
		if value != "" {
			keys[key] = value
		}
	}
	return keys
}

func readContexts(path string) (contextsFile, error) {
	file := contextsFile{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || path == "" {
		return file, nil
	}
	if err != nil {
		return file, fmt.Errorf("read the contexts: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return file, fmt.Errorf("read %s: %w", path, err)
	}
	return file, nil
}

// write replaces the file in one step. It may contain tokens: only its owner can read it.
func (f contextsFile) write(path string) error {
	text, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	draft := path + ".new"
	if err := os.WriteFile(draft, text, 0o600); err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	if err := os.Rename(draft, path); err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	return nil
}

func (t *tool) contexts() *cobra.Command {
	return group("context", "Manage named sets of settings", t.contextList(), t.contextUse(), t.contextSet(), t.contextDelete())
}

func (t *tool) contextList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the contexts", Args: needs(),
		RunE: func(*cobra.Command, []string) error {
			file, err := readContexts(t.contextsFile)
			if err != nil {
				return err
			}
			type item struct {
				Name    string `json:"name"`
				Current bool   `json:"current"`
				contextKeys
			}
			items := []item{}
			for _, name := range slices.Sorted(maps.Keys(file.Contexts)) {
				items = append(items, item{Name: name, Current: name == file.Current, contextKeys: file.Contexts[name]})
			}
			return t.list(items, "CURRENT\tNAME\tSERVER\tCLUSTER", len(items), func(i int) []string {
				mark := ""
				if items[i].Current {
					mark = "*"
				}
				return []string{mark, items[i].Name, items[i].Server, dash(items[i].Cluster)}
			})
		}}
}

func (t *tool) contextUse() *cobra.Command {
	cmd := &cobra.Command{Use: "use NAME", Short: "Use a context from now on", Args: needs("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := readContexts(t.contextsFile)
			if err != nil {
				return err
			}
			if _, ok := file.Contexts[args[0]]; !ok {
				return fmt.Errorf("there is no context %q; to make it: replictl context set %s --server URL", args[0], args[0])
			}
			file.Current = args[0]
			return file.write(t.contextsFile)
		}}
	cmd.ValidArgsFunction = t.contextNames
	return cmd
}

func (t *tool) contextSet() *cobra.Command {
	var tokenFile string
	cmd := &cobra.Command{Use: "set NAME --server URL [--cluster C]", Short: "Make or change a context", Args: needs("NAME"),
		Long: "Make or change a context from --server, --cluster, --output and --token-file. The first context becomes the current one.",
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readContexts(t.contextsFile)
			if err != nil {
				return err
			}
			set := file.Contexts[args[0]]
			if cmd.Flags().Changed("server") {
				set.Server = strings.Join(t.servers, ",")
			}
			if cmd.Flags().Changed("cluster") {
				set.Cluster = t.settings.cluster
			}
			if cmd.Flags().Changed("output") {
				set.Output = t.format
			}
			if tokenFile != "" {
				token, err := os.ReadFile(tokenFile)
				if err != nil {
					return fmt.Errorf("read the token: %w", err)
				}
				set.Token = strings.TrimSpace(string(token))
			}
			if set.Server == "" {
				return usagef("the server is missing: a context needs --server")
			}
			if file.Contexts == nil {
				file.Contexts = map[string]contextKeys{}
			}
			file.Contexts[args[0]] = set
			if len(file.Contexts) == 1 {
				file.Current = args[0]
			}
			return file.write(t.contextsFile)
		}}
	cmd.Flags().String("cluster", "", "the `cluster` that commands use with this context")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "the `file` to read the token from")
	return cmd
}

func (t *tool) contextDelete() *cobra.Command {
	cmd := &cobra.Command{Use: "delete NAME", Short: "Delete a context", Args: needs("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := readContexts(t.contextsFile)
			if err != nil {
				return err
			}
			if _, ok := file.Contexts[args[0]]; !ok {
				return fmt.Errorf("there is no context %q", args[0])
			}
			delete(file.Contexts, args[0])
			if file.Current == args[0] {
				file.Current = ""
			}
			return file.write(t.contextsFile)
		}}
	cmd.ValidArgsFunction = t.contextNames
	return cmd
}

// contextNames completes the name of a context.
func (t *tool) contextNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || t.settings.load(cmd.Flags()) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	file, err := readContexts(t.contextsFile)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(file.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
