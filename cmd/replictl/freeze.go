package main

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/api/client"
	"github.com/replicante-io/playbooks/record"
)

func (t *tool) freeze() *cobra.Command {
	return group("freeze", "Show and delete freezes", t.freezeList(), t.freezeGet(),
		t.deleteCommand("freeze", "Delete a freeze: runs may start again", freezeNames, (*client.Client).DeleteFreeze))
}

func (t *tool) freezeList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the freezes", Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			items, err := c.Freezes(cmd.Context())
			if err != nil {
				return err
			}
			return t.list(items, "FREEZE\tCLUSTERS\tWHEN\tREASON", len(items), func(i int) []string {
				f := items[i]
				return []string{f.Name, list(f.Spec.Clusters), periodText(&f.Spec), dash(oneLine(f.Spec.Reason))}
			})
		}}
}

// periodText is when a freeze holds.
func periodText(spec *record.FreezeSpec) string {
	var parts []string
	for _, w := range spec.Windows {
		parts = append(parts, w.Cron+" ("+w.TimeZone+") for "+w.For)
	}
	if spec.From != nil {
		parts = append(parts, "from "+spec.From.UTC().Format(time.RFC3339))
	}
	if spec.To != nil {
		parts = append(parts, "until "+spec.To.UTC().Format(time.RFC3339))
	}
	if len(spec.Windows) > 0 {
		return strings.Join(parts, ", ")
	}
	return strings.Join(parts, " ")
}

func (t *tool) freezeGet() *cobra.Command {
	cmd := &cobra.Command{Use: "get FREEZE", Short: "Show a freeze", Args: needs("FREEZE"),
		Long: "Show a freeze. What -o yaml prints can be applied again.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			f, err := c.Freeze(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if t.format == "yaml" {
				return writeManifest(t.out, "Freeze", manifestMetadata{Name: f.Name, Labels: f.Labels}, f.Spec)
			}
			return t.one(f, func(w io.Writer) {
				_, _ = io.WriteString(w, rows([][]string{{"Freeze:", f.Name + " revision " + strconv.FormatInt(f.Revision, 10)}, {"Clusters:", strings.Join(f.Spec.Clusters, ", ")},
					{"When:", periodText(&f.Spec)}, {"Reason:", dash(oneLine(f.Spec.Reason))}}))
			})
		}}
	return t.completing(cmd, freezeNames)
}

// jsonText is a value as JSON on one line.
func jsonText(value any) string {
	text, _ := json.Marshal(value) // a Document holds JSON values only
	return string(text)
}
