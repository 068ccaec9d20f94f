package main

import (
	"strconv"

	"github.com/spf13/cobra"
)

func (t *tool) cluster() *cobra.Command {
	return group("cluster", "Show the clusters with known nodes", t.clusterList())
}

func (t *tool) clusterList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the clusters", Args: needs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			items, err := c.Clusters(cmd.Context())
			if err != nil {
				return err
			}
			return t.list(items, "CLUSTER\tNODES\tPRESENT", len(items), func(i int) []string {
				return []string{items[i].ClusterID, strconv.Itoa(items[i].Nodes), strconv.Itoa(items[i].Present)}
			})
		}}
}
