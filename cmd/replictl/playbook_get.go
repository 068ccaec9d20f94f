package main

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/record"
)

func (t *tool) playbookGet() *cobra.Command {
	var revision int64
	cmd := &cobra.Command{Use: "get PLAYBOOK", Short: "Show a playbook as it was applied", Args: needs("PLAYBOOK"),
		Long: "Show a playbook as it was applied. What is printed, except with -o json, can be applied again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			p, err := c.Playbook(cmd.Context(), args[0], revision)
			if err != nil {
				return err
			}
			if t.format == "json" {
				return t.print(p)
			}
			return writeManifest(t.out, "Playbook", manifestMetadata{p.Name, p.Version, p.Source, p.Labels}, p.Spec)
		}}
	cmd.Flags().Int64Var(&revision, "revision", 0, "the revision; 0 is the latest")
	return t.completing(cmd, playbookNames)
}

// manifest is a playbook, schedule or freeze as a document that can be applied.
type manifest struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	Metadata   manifestMetadata `json:"metadata"`
	Spec       any              `json:"spec"`
}

type manifestMetadata struct {
	Name    string            `json:"name"`
	Version string            `json:"version,omitempty"`
	Source  *record.Source    `json:"source,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

func writeManifest(w io.Writer, kind string, metadata manifestMetadata, spec any) error {
	var text bytes.Buffer
	err := json.NewEncoder(&text).Encode(manifest{APIVersion: "replicante.io/v1", Kind: kind, Metadata: metadata, Spec: spec})
	if err != nil {
		return err
	}
	return writeYAML(w, text.Bytes())
}
