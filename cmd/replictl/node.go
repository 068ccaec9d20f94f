package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/record"
)

func (t *tool) node() *cobra.Command {
	cmd := group("node", "Show and forget known nodes", t.nodeList(), t.nodeGet(), t.nodeForget())
	cmd.PersistentFlags().StringP("cluster", "c", "", "the `cluster` of the nodes")
	t.completeCluster(cmd)
	return cmd
}

func (t *tool) nodeList() *cobra.Command {
	return &cobra.Command{Use: "list --cluster C", Short: "List the nodes of a cluster", Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := t.needCluster()
			if err != nil {
				return err
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			items, err := c.Nodes(cmd.Context(), cluster)
			if err != nil {
				return err
			}
			slices.SortFunc(items, func(a, b record.Node) int { return record.CompareIDs(a.NodeID, b.NodeID) })
			return t.list(items, "NODE\tSTATUS\tROLE\tPRESENT\tVERSION\tOBSERVED\tAGENT\tREASON", len(items), func(i int) []string {
				n := items[i]
				return []string{n.NodeID, string(n.Status), dash(n.Role), presence(n), dash(n.StoreVersion), when(n.ObservedTS), dash(n.AgentURL),
					dash(oneLine(n.StatusReason))}
			})
		}}
}

func presence(n record.Node) string {
	if n.Present {
		return "yes"
	}
	return "gone since " + when(n.GoneTS)
}

// status is the status of a node with the reason for it.
func status(n record.Node) string {
	if n.StatusReason == "" {
		return string(n.Status)
	}
	return string(n.Status) + ": " + oneLine(n.StatusReason)
}

func (t *tool) nodeGet() *cobra.Command {
	cmd := &cobra.Command{Use: "get NODE --cluster C", Short: "Show a node", Args: needs("NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := t.needCluster()
			if err != nil {
				return err
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			n, err := c.Node(cmd.Context(), cluster, args[0])
			if err != nil {
				return err
			}
			return t.one(n, func(w io.Writer) {
				_, _ = io.WriteString(w, rows(nodeLines(n)))
			})
		}}
	return t.completing(cmd, nodeNames)
}

func nodeLines(n record.Node) [][]string {
	attributes := []byte("-")
	if len(n.Attributes) > 0 {
		attributes, _ = json.Marshal(n.Attributes) // a Document holds JSON values only
	}
	lines := [][]string{{"Node:", n.NodeID}, {"Cluster:", n.ClusterID}, {"Status:", status(n)},
		{"Role:", dash(n.Role)}, {"Present:", presence(n)}, {"Agent:", n.AgentURL + " " + n.AgentVersion},
		{"Store:", dash(strings.TrimSpace(n.StoreID + " " + n.StoreVersion))}, {"Attributes:", string(attributes)}, {"Observed:", when(n.ObservedTS)}}
	if n.Kinds != nil {
		lines = append(lines, []string{"Actions:", strings.Join(n.Kinds, " ")})
	}
	for _, shard := range n.Shards {
		lag := ""
		if shard.Lag != nil {
			lag = fmt.Sprintf("%v %s behind", shard.Lag.Value, shard.Lag.Unit)
		}
		lines = append(lines, []string{"Shard:", strings.TrimSpace(shard.ID + " " + shard.Role + " " + lag)})
	}
	return lines
}

func (t *tool) nodeForget() *cobra.Command {
	cmd := &cobra.Command{Use: "forget NODE --cluster C", Short: "Forget a node that is gone for good", Args: needs("NODE"),
		Long: "Forget a node that is gone for good. What may still run on it, of runs that have ended too, is written off: make sure that\n" +
			"its machine is off. A node with a live key is not forgotten.",
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := t.needCluster()
			if err != nil {
				return err
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			if err := c.Forget(cmd.Context(), cluster, args[0]); err != nil {
				return err
			}
			return t.one(map[string]any{"cluster_id": cluster, "node_id": args[0], "forgotten": true}, func(w io.Writer) {
				_, _ = fmt.Fprintf(w, "node %s of cluster %s is forgotten\n", args[0], cluster)
			})
		}}
	return t.completing(cmd, nodeNames)
}
