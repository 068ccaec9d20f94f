// Package config reads the configuration of the control plane and of agents.
//
// A file is decoded strictly: whatever is wrong with it is reported at once, each with file, line and the full key.
// Over the file lie the environment and the flags, for every key that holds a single value or a list of texts; below it
// lie the defaults. What is returned is complete and checked.
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
	API        API        `key:"api"`
	Etcd       Etcd       `key:"etcd"`
	Store      Store      `key:"store"`
	Runs       Runs       `key:"runs"`
	Membership Membership `key:"membership"`
	Log        Log        `key:"log"`
}

// API says where a program serves HTTP, and under which URL others reach it.
type API struct {
	Listen    string `key:"listen" usage:"address to serve HTTP on"`
	Advertise string `key:"advertise" usage:"URL under which others reach this (default: http:// and the listen address)"`
	Insecure  bool   `key:"insecure" usage:"the network is trusted: listen beyond loopback without TLS and tokens"`
}

// Etcd says which etcd is used, and where in it.
type Etcd struct {
	Endpoints    []string      `key:"endpoints" usage:"URLs of etcd, separated by commas"`
	Prefix       string        `key:"prefix" usage:"what every key in etcd begins with"`
	LeaseTTL     time.Duration `key:"lease_ttl" usage:"how long etcd keeps the keys of a program that is gone"`
	Username     string        `key:"username" usage:"user name at etcd"`
	PasswordFile string        `key:"password_file" usage:"file that holds the password at etcd"`
}

// Store says which primary store is used.
type Store struct {
	URL      string `key:"url" usage:"URL of the primary store: mongodb://… or sqlite:///…"`
	Database string `key:"database" usage:"name of the database in MongoDB"`
}

// Runs says what happens to runs.
type Runs struct {
	FinishedTTL time.Duration `key:"finished_ttl" usage:"how long finished runs are kept"`
}

// Membership says what happens to nodes that vanish.
type Membership struct {
	Grace       time.Duration `key:"grace" usage:"how long a vanished node may be away before it counts as gone"`
	ForgetAfter time.Duration `key:"forget_after" usage:"how long a known node may stay away before it is forgotten"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `key:"level" usage:"trace, debug, info, warn or error"`
	Format string `key:"format" usage:"text or json"`
}

// Agent configures the agent of one node.
type Agent struct {
	Node    Node               `key:"node"`
	API     API                `key:"api"`
	Etcd    Etcd               `key:"etcd"`
	DataDir string             `key:"data_dir" usage:"directory of the agent's journal"`
	Actions map[string]Command `key:"actions" only:"file"`
	Probe   *Probe             `key:"probe" only:"file"` // nil: none
	Log     Log                `key:"log"`
}

// Node is the node that an agent is for.
type Node struct {
	ID         string         `key:"id" usage:"id of the node, unique in its cluster"`
	Cluster    string         `key:"cluster" usage:"id of the cluster"`
	Attributes map[string]any `key:"attributes" only:"file"`
}

// Command is a command of the operators' own.
type Command struct {
	Command []string      `key:"command"`
	Timeout time.Duration `key:"timeout"` // 0: the request's
}

// Probe is the command that says how the node is.
type Probe struct {
	Command  []string      `key:"command"`
	Interval time.Duration `key:"interval"`
}

// LoadCore reads the configuration of a replica from file, which may be "", the environment (REPLICORE_…) and flags,
// which CoreFlags made or which may be nil. Its error lists everything that is wrong.
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

// LoadStore is LoadCore for who needs the primary store alone: the other parts may be missing or wrong.
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

// LoadAgent reads the configuration of an agent, like LoadCore, from the environment's REPLIAGENT_….
func LoadAgent(file string, flags *pflag.FlagSet) (Agent, error) {
	agent := Agent{
		API:     API{Listen: "127.0.0.1:16018"},
		Etcd:    Etcd{Prefix: "/replicante", LeaseTTL: 10 * time.Second},
		DataDir: "/var/lib/replicante-agent",
		Log:     Log{Level: "info", Format: "text"},
	}
	s := &source{file: file, env: "REPLIAGENT_", flags: flags}
	if err := s.load(&agent); err != nil {
		return Agent{}, err
	}
	agent.API.complete()
	agent.Etcd.complete()
	if agent.Probe != nil && !s.given("probe.interval") {
		agent.Probe.Interval = 5 * time.Second
	}
	agent.check(s)
	return agent, s.err()
}

// CoreFlags adds a flag for every key of a replica that can be one: store.url is --store-url.
func CoreFlags(flags *pflag.FlagSet) { addFlags(flags, &Core{}) }

// AgentFlags adds a flag for every key of an agent that can be one.
func AgentFlags(flags *pflag.FlagSet) { addFlags(flags, &Agent{}) }

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
