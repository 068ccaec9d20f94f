// Package config reads the configuration of the control plane and of agents.
//
// A file is decoded strictly, with the rules for values that playbooks have: everything that is wrong with it is reported
// at once, each problem with file, line, column and key. A key that is a single value or a list of strings can also be
// set by a flag or an environment variable. A flag has precedence over the environment, the environment over the file,
// the file over the default. The configuration that is returned is complete and checked.
package config

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Core configures one replica of the control plane.
type Core struct {
	Name       string     `key:"name" usage:"name of this replica (default: the host name)"`
	API        API        `key:"api" usage:"where the program serves HTTP"`
	Etcd       Etcd       `key:"etcd" usage:"the etcd to use"`
	Store      Store      `key:"store" usage:"the primary store to use"`
	Runs       Runs       `key:"runs" usage:"how long runs are kept"`
	Membership Membership `key:"membership" usage:"what happens to nodes that disappear"`
	Log        Log        `key:"log" usage:"what is logged"`
}

// API is where a program serves HTTP, and the URL under which others reach it.
type API struct {
	Listen    string `key:"listen" usage:"address to serve HTTP on"`
	Advertise string `key:"advertise" usage:"URL under which others reach this address (default: http:// and the listen address)"`
	Insecure  bool   `key:"insecure" usage:"allow an address that other machines can reach, without TLS and authentication"`
	// Hosts are names under which clients reach the address besides that of Advertise: of a load balancer, for example.
	Hosts []string `key:"hosts" usage:"further host names under which clients call this address, separated by commas"`
}

// Etcd is the etcd to use, and the prefix of keys in it.
type Etcd struct {
	Endpoints    []string      `key:"endpoints" usage:"URLs of etcd, separated by commas"`
	Prefix       string        `key:"prefix" usage:"prefix of every key in etcd"`
	LeaseTTL     time.Duration `key:"lease_ttl" usage:"how long etcd keeps the keys of a program that no longer answers"`
	Username     string        `key:"username" usage:"user name for etcd"`
	PasswordFile string        `key:"password_file" usage:"file with the password for etcd"`
}

// Store is the primary store to use.
type Store struct {
	URL      string `key:"url" usage:"URL of the primary store: mongodb://… or sqlite:///…"`
	Database string `key:"database" usage:"name of the database in MongoDB"`
}

// Runs configures how long runs are kept.
type Runs struct {
	FinishedTTL time.Duration `key:"finished_ttl" usage:"how long finished runs are kept"`
}

// Membership configures what happens to nodes that disappear.
type Membership struct {
	Grace       time.Duration `key:"grace" usage:"how long a node may be gone before it counts as removed"`
	ForgetAfter time.Duration `key:"forget_after" usage:"how long a node may be gone before it is forgotten"`
}

// Log configures what is logged, and in which format.
type Log struct {
	Level  string `key:"level" choices:"trace debug info warn error" usage:"trace, debug, info, warn or error"`
	Format string `key:"format" choices:"text json" usage:"text or json"`
}

// Agent configures the agent of one node.
type Agent struct {
	Node    Node               `key:"node" usage:"the node that the agent runs on"`
	API     API                `key:"api" usage:"where the program serves HTTP"`
	Etcd    Etcd               `key:"etcd" usage:"the etcd to use"`
	DataDir string             `key:"data_dir" usage:"directory of the agent's journal"`
	Actions map[string]Command `key:"actions" only:"file" pattern:"action" usage:"the commands that the agent may run, by name: a playbook uses one as external.agent.replicante.io/NAME"`
	Probe   *Probe             `key:"probe" only:"file" usage:"the command that prints the facts of the node"` // nil: none
	Log     Log                `key:"log" usage:"what is logged"`
}

// Node is the node that an agent runs on.
type Node struct {
	ID         string         `key:"id" pattern:"id" usage:"id of the node, unique in its cluster"`
	Cluster    string         `key:"cluster" pattern:"id" usage:"id of the cluster"`
	Attributes map[string]any `key:"attributes" only:"file" usage:"what expressions see as node.attributes"`
}

// Command is a command that an agent may run.
type Command struct {
	Command []string      `key:"command" need:"write for example command: [/path/to/program, argument]" usage:"the program, with its arguments"`
	Timeout time.Duration `key:"timeout" usage:"how long it may take (default: the timeout of the step)"`                    // 0: the timeout of the request
	User    string        `key:"user" usage:"the user, by name or number, that it runs as (default: the user of the agent)"` // "": the agent's own user
}

// Probe is the command that reports the state of the node.
type Probe struct {
	Command  []string      `key:"command" need:"write for example command: [/path/to/program, argument]" usage:"the program, with its arguments"`
	Interval time.Duration `key:"interval" usage:"how often it runs at least (default: 5s)"`
	Timeout  time.Duration `key:"timeout" usage:"how long it may take (default: 10s)"`
}

// LoadCore reads the configuration of a replica from a file, the environment (REPLICORE_…) and the flags of CoreFlags. The
// file may be "" and flags nil. The error lists everything that is wrong.
func LoadCore(file string, flags *pflag.FlagSet) (Core, error) {
	core := defaultCore()
	s := &source{file: file, env: "REPLICORE_", flags: flags}
	if err := s.load(&core); err != nil {
		return Core{}, err
	}
	if core.Name == "" {
		core.Name, _ = os.Hostname()
	}
	core.API.complete()
	core.Etcd.complete()
	core.check(s)
	return core, s.err()
}

func defaultCore() Core {
	return Core{
		API:        API{Listen: "127.0.0.1:16016"},
		Etcd:       Etcd{Prefix: "/replicante", LeaseTTL: 5 * time.Second},
		Store:      Store{Database: "replicante"},
		Runs:       Runs{FinishedTTL: 336 * time.Hour},
		Membership: Membership{Grace: 30 * time.Second, ForgetAfter: 72 * time.Hour},
		Log:        Log{Level: "info", Format: "text"},
	}
}

// LoadStore is LoadCore for programs that use only the primary store: the rest may be missing or wrong.
func LoadStore(file string, flags *pflag.FlagSet) (Core, error) {
	core := defaultCore()
	s := &source{file: file, env: "REPLICORE_", flags: flags}
	if err := s.load(&core); err != nil {
		return Core{}, err
	}
	core.Store.check(s)
	core.Runs.check(s)
	core.Log.check(s)
	return core, s.err()
}

// LoadAgent is LoadCore for the configuration of an agent. Its environment variables start with REPLIAGENT_.
func LoadAgent(file string, flags *pflag.FlagSet) (Agent, error) {
	agent := defaultAgent()
	s := &source{file: file, env: "REPLIAGENT_", flags: flags}
	if err := s.load(&agent); err != nil {
		return Agent{}, err
	}
	agent.API.complete()
	agent.Etcd.complete()
	if agent.Probe != nil && !s.given("probe.interval") {
		agent.Probe.Interval = 5 * time.Second
	}
	if agent.Probe != nil && !s.given("probe.timeout") {
		agent.Probe.Timeout = 10 * time.Second
	}
	agent.check(s)
	return agent, s.err()
}

func defaultAgent() Agent {
	return Agent{
		API:     API{Listen: "127.0.0.1:16018"},
		Etcd:    Etcd{Prefix: "/replicante", LeaseTTL: 10 * time.Second},
		DataDir: "/var/lib/replicante-agent",
		Log:     Log{Level: "info", Format: "text"},
	}
}

// CoreFlags adds the flags of a replica: store.url is --store-url.
func CoreFlags(flags *pflag.FlagSet) { addFlags(flags, defaultCore()) }

// AgentFlags adds the flags of an agent.
func AgentFlags(flags *pflag.FlagSet) { addFlags(flags, defaultAgent()) }

// Password reads the password file, if there is one.
func (e Etcd) Password() (string, error) {
	if e.PasswordFile == "" {
		return "", nil
	}
	data, err := os.ReadFile(e.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read etcd.password_file: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// Names are the names under which clients reach the API: host names, addresses and URLs.
func (a *API) Names() []string { return append([]string{a.Listen, a.Advertise}, a.Hosts...) }

func (a *API) complete() {
	if host, _, ok := splitListen(a.Listen); ok && a.Advertise == "" && !everywhere(host) {
		a.Advertise = "http://" + a.Listen
	}
	a.Advertise = strings.TrimRight(a.Advertise, "/")
}

func (e *Etcd) complete() {
	e.Prefix = strings.TrimRight(e.Prefix, "/")
	for i, endpoint := range e.Endpoints {
		e.Endpoints[i] = strings.TrimRight(strings.TrimSpace(endpoint), "/")
	}
}
