package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/dev"
	"github.com/replicante-io/playbooks/internal/version"
)

const devListen = "127.0.0.1:16016"

func devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dev", Short: "Run everything in one process, to try it out", Args: cobra.NoArgs,
		Long: `Run everything in one process, to try it out on this machine: an embedded etcd, the control plane with an embedded store,
and agents of demo nodes (node-1, node-2 … of cluster demo, in zones a, b and c; node-1 is the primary). The agents know
the actions agent.replicante.io/test.success, test.fail and test.loop.`,
	}
	c := dev.Config{Version: version.Text()}
	var log config.Log
	flags := cmd.Flags()
	flags.IntVar(&c.Agents, "agents", 3, "number of nodes")
	flags.StringVar(&c.Data, "data", "", "`directory` for all data; without it nothing is kept")
	flags.StringVar(&c.Listen, "listen", devListen, "`address` to serve on; port 0 chooses a free one")
	flags.StringVar(&c.Store, "store", "", "`URL` of a primary store to use instead of the embedded one, such as mongodb://…: a new one, or one that dev created")
	flags.StringVar(&c.Etcd, "etcd-listen", "", "`address` of the embedded etcd, for agents of your own (default: a free port)")
	flags.StringVar(&log.Level, "log-level", "warn", "trace, debug, info, warn or error")
	flags.StringVar(&log.Format, "log-format", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c.Log = log.Logger("replicore", os.Stderr)
		c.Ready = func(url string) { printReady(cmd.OutOrStdout(), c, url) }
		return dev.Run(cmd.Context(), c)
	}
	return cmd
}

// printReady prints where everything is, and which commands to try next.
func printReady(w io.Writer, c dev.Config, url string) {
	var b strings.Builder
	fmt.Fprintf(&b, "replicore dev is ready at %s\n", url)
	switch c.Agents {
	case 0:
		fmt.Fprintf(&b, "  no nodes\n")
	case 1:
		fmt.Fprintf(&b, "  node-1 in cluster %s\n", dev.Cluster)
	default:
		fmt.Fprintf(&b, "  node-1 … node-%d in cluster %s; node-1 is the primary\n", c.Agents, dev.Cluster)
	}
	if c.Etcd != "" {
		fmt.Fprintf(&b, "  agents of your own can join with etcd: {endpoints: [http://%s]}\n", c.Etcd)
	}
	if c.Data == "" {
		fmt.Fprintf(&b, "  nothing is kept after it stops; use --data DIR to keep it\n")
	} else {
		fmt.Fprintf(&b, "  all data is kept in %s\n", c.Data)
	}
	fmt.Fprintf(&b, "\nIn another terminal:\n")
	if url != "http://"+devListen {
		fmt.Fprintf(&b, "  export RCTL_SERVER=%s\n", url)
	}
	if c.Agents > 0 {
		fmt.Fprintf(&b, "  replictl node list --cluster %[1]s\n"+
			"  replictl apply -f examples/rolling-restart.yaml\n"+
			"  replictl run start rolling-restart --cluster %[1]s --wait\n", dev.Cluster)
	} else {
		fmt.Fprintf(&b, "  replictl cluster list\n")
	}
	fmt.Fprintf(&b, "\nCtrl-C stops it.\n")
	_, _ = io.WriteString(w, b.String())
}
