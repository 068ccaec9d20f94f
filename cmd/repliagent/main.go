// Command repliagent is the agent of one node: it runs the actions that the control plane sends, and reports the state of
// the node.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/replicante-io/playbooks/agent"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/internal/node"
	"github.com/replicante-io/playbooks/internal/systemd"
	"github.com/replicante-io/playbooks/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills the program
	if err := command(config.Hangups()).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "repliagent:", err)
		os.Exit(1)
	}
}

func command(hangups <-chan os.Signal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repliagent --config FILE",
		Short: "The agent of one node",
		Long: `repliagent runs the actions that the control plane sends to this node, and reports the state of the node.

It only runs the commands in its configuration. Every key of the configuration that is a single value is also a flag and
an environment variable: node.id is --node-id and REPLIAGENT_NODE_ID. A flag has precedence over the environment, the
environment over the file. The file alone has actions (the commands), probe (how it finds out how its node is) and
node.attributes.

SIGTERM stops it, and the action that is running; SIGHUP has it read its log level again.

Exit: 0 stopped by a signal, 1 error.`,
		Version: version.Text(), Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
	}
	cmd.SetVersionTemplate("repliagent {{.Version}}\n")
	file := cmd.Flags().String("config", "", "configuration `file` (repliagent.yaml)")
	config.AgentFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := config.LoadAgent(*file, cmd.Flags())
		if err != nil {
			return err
		}
		log := c.Log.Logger("repliagent", os.Stderr)
		go config.ReloadLogLevel(cmd.Context(), hangups, log, func() (config.Log, error) {
			c, err := config.LoadAgent(*file, cmd.Flags())
			return c.Log, err
		})
		return run(cmd.Context(), c, log)
	}
	return cmd
}

// run serves the agent and keeps its node registered until ctx ends.
func run(ctx context.Context, c config.Agent, log hclog.Logger) error {
	reaper, err := agent.NewReaper()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.API.Listen)
	if err != nil {
		return fmt.Errorf("listen on api.listen: %w", err)
	}
	password, err := c.Etcd.Password()
	if err != nil {
		return err
	}
	client, err := etcd.Dial(etcd.DialConfig{Endpoints: c.Etcd.Endpoints, Username: c.Etcd.Username, Password: password})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()

	n := node.New(node.Config{
		Agent: agentConfig(c, reaper, log), URL: advertised(c.API, listener), CheckURL: true, Version: version.Text(),
		Etcd: client, Prefix: c.Etcd.Prefix, TTL: c.Etcd.LeaseTTL, Log: log,
	})
	log.Info("agent starts", "node", c.Node.ID, "cluster", c.Node.Cluster, "listen", listener.Addr().String(), "version", version.Text())
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return node.Serve(ctx, listener, n.Handler(), 1, c.API.Names(), log) })
	work.Go(func() error { return n.Run(ctx) })
	work.Go(func() error { return reaper.Run(ctx) })
	work.Go(func() error {
		select {
		case <-n.Agent().Ready():
			// The queue is answered from memory, so a slow disk or command does not trigger the watchdog.
			systemd.Notify(ctx, systemd.Answers(listener.Addr(), wire.Base+"/actions/queue"))
		case <-ctx.Done():
		}
		return nil
	})
	return work.Wait()
}

// advertised is the URL of the agent. If api.listen has port 0, the URL has the port that the system chose.
func advertised(api config.API, listener net.Listener) string {
	if api.Advertise == "http://"+api.Listen {
		return "http://" + listener.Addr().String()
	}
	return api.Advertise
}

func agentConfig(c config.Agent, reaper *agent.Reaper, log hclog.Logger) agent.Config {
	a := agent.Config{
		NodeID: c.Node.ID, ClusterID: c.Node.Cluster, Attributes: c.Node.Attributes, DataDir: c.DataDir,
		Actions: map[string]agent.Command{}, Reaper: reaper, Log: log.Named("agent"),
	}
	for name, command := range c.Actions {
		a.Actions[name] = agent.Command{Command: command.Command, Timeout: command.Timeout, User: command.User}
	}
	if c.Probe != nil {
		a.ProbeInterval, a.ProbeTimeout = c.Probe.Interval, c.Probe.Timeout
		a.Probe = agent.CommandProbe(c.Probe.Command, c.Probe.Timeout, reaper)
	}
	return a
}
