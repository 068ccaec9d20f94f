package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/replicante-io/playbooks/internal/config"
)

const minimal = `
etcd: {endpoints: [http://etcd-1:2379]}
store: {url: "sqlite:///var/lib/core.db"}
`

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "the.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCoreHasTheDefaultsOfTheReference(t *testing.T) {
	got, err := config.LoadCore(write(t, minimal), nil)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	want := config.Core{
		Name:       host,
		API:        config.API{Listen: "127.0.0.1:16016", Advertise: "http://127.0.0.1:16016"},
		Etcd:       config.Etcd{Endpoints: []string{"http://etcd-1:2379"}, Prefix: "/replicante", LeaseTTL: 5 * time.Second},
		Store:      config.Store{URL: "sqlite:///var/lib/core.db", Database: "replicante"},
		Runs:       config.Runs{FinishedTTL: 336 * time.Hour},
		Membership: config.Membership{Grace: 30 * time.Second, ForgetAfter: 72 * time.Hour},
		Log:        config.Log{Level: "info", Format: "text"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEveryKeyOfACoreFileIsRead(t *testing.T) {
	password := write(t, "s3cret\n")
	got, err := config.LoadCore(write(t, `
name: core-1
api: {listen: 0.0.0.0:1, advertise: "http://core-1:1/", insecure: true}
etcd: {endpoints: ["https://a:2379", "https://b:2379/"], prefix: /x/, lease_ttl: 7s, username: me, password_file: `+password+`}
store: {url: "mongodb://db-1:27017,db-2:27017/?replicaSet=rs0", database: other}
runs: {finished_ttl: 1h}
membership: {grace: 31s, forget_after: 73h}
log: {level: debug, format: json}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Core{
		Name: "core-1",
		API:  config.API{Listen: "0.0.0.0:1", Advertise: "http://core-1:1", Insecure: true},
		Etcd: config.Etcd{Endpoints: []string{"https://a:2379", "https://b:2379"}, Prefix: "/x", LeaseTTL: 7 * time.Second,
			Username: "me", PasswordFile: password},
		Store:      config.Store{URL: "mongodb://db-1:27017,db-2:27017/?replicaSet=rs0", Database: "other"},
		Runs:       config.Runs{FinishedTTL: time.Hour},
		Membership: config.Membership{Grace: 31 * time.Second, ForgetAfter: 73 * time.Hour},
		Log:        config.Log{Level: "debug", Format: "json"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if secret, err := got.Etcd.Password(); err != nil || secret != "s3cret" {
		t.Errorf("password is %q, %v", secret, err)
	}
}

func TestKeysOfAttributesAndActionsAreKeptAsWritten(t *testing.T) {
	got, err := config.LoadAgent(write(t, `
node: {id: redis-1, cluster: orders, attributes: {Zone: a, "dotted.key": {Rack: 7, tags: [x, true]}}}
etcd: {endpoints: [http://etcd-1:2379]}
actions:
  Restart.Redis: {command: [/bin/restart, "--fast"], timeout: 60s}
probe: {command: [/bin/info]}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Agent{
		Node: config.Node{ID: "redis-1", Cluster: "orders", Attributes: map[string]any{
			"Zone": "a", "dotted.key": map[string]any{"Rack": int64(7), "tags": []any{"x", true}}}},
		API:     config.API{Listen: "127.0.0.1:16018", Advertise: "http://127.0.0.1:16018"},
		Etcd:    config.Etcd{Endpoints: []string{"http://etcd-1:2379"}, Prefix: "/replicante", LeaseTTL: 10 * time.Second},
		DataDir: "/var/lib/replicante-agent",
		Actions: map[string]config.Command{"Restart.Redis": {Command: []string{"/bin/restart", "--fast"}, Timeout: time.Minute}},
		Probe:   &config.Probe{Command: []string{"/bin/info"}, Interval: 5 * time.Second, Timeout: 10 * time.Second},
		Log:     config.Log{Level: "info", Format: "text"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAFlagWinsOverTheEnvironmentOverTheFileOverTheDefault(t *testing.T) {
	layers := []struct {
		name            string
		file, env, flag bool
		want            time.Duration
		endpoints       []string
	}{
		{"default", false, false, false, 336 * time.Hour, []string{"http://etcd-1:2379"}},
		{"file", true, false, false, 2 * time.Hour, []string{"http://etcd-1:2379"}},
		{"environment", true, true, false, 3 * time.Hour, []string{"http://a:1", "http://b:2"}},
		{"flag", true, true, true, 4 * time.Hour, []string{"http://c:3", "http://d:4"}},
		{"flag over file", true, false, true, 4 * time.Hour, []string{"http://c:3", "http://d:4"}},
	}
	for _, layer := range layers {
		t.Run(layer.name, func(t *testing.T) {
			text := minimal
			if layer.file {
				text += "runs: {finished_ttl: 2h}\n"
			}
			if layer.env {
				t.Setenv("REPLICORE_RUNS_FINISHED_TTL", "3h")
				t.Setenv("REPLICORE_ETCD_ENDPOINTS", "http://a:1, http://b:2")
			}
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			config.CoreFlags(flags)
			if layer.flag {
				if err := flags.Parse([]string{"--runs-finished-ttl=4h", "--etcd-endpoints=http://c:3,http://d:4"}); err != nil {
					t.Fatal(err)
				}
			}
			got, err := config.LoadCore(write(t, text), flags)
			if err != nil {
				t.Fatal(err)
			}
			if got.Runs.FinishedTTL != layer.want {
				t.Errorf("runs.finished_ttl is %v, want %v", got.Runs.FinishedTTL, layer.want)
			}
			if diff := cmp.Diff(layer.endpoints, got.Etcd.Endpoints); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheEnvironmentIsEnoughWithoutAFile(t *testing.T) {
	t.Setenv("REPLICORE_ETCD_ENDPOINTS", "http://a:1")
	t.Setenv("REPLICORE_STORE_URL", "sqlite:///x.db")
	t.Setenv("REPLICORE_API_LISTEN", "0.0.0.0:16016")
	t.Setenv("REPLICORE_API_ADVERTISE", "http://core:16016")
	t.Setenv("REPLICORE_API_INSECURE", "true")
	if _, err := config.LoadCore("", nil); err != nil {
		t.Fatal(err)
	}
}

func TestProblemsOfACoreFileHaveAPlace(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"unknown key", minimal + "runs:\n  finish_ttl: 2h\n", "the.yaml:5:3: runs.finish_ttl: unknown key; did you mean finished_ttl?"},
		{"key at the wrong place", minimal + "database: x\n", "the.yaml:4:1: database: unknown key; expected one of name, api, "},
		{"key twice", minimal + "name: a\nname: b\n", "the.yaml:5:1: the key \"name\" is already given at line 4"},
		{"mapping expected", minimal + "api: 7\n", "the.yaml:4:6: api: must be a mapping"},
		{"list expected", "etcd:\n  endpoints: http://a:1\n", "the.yaml:2:14: etcd.endpoints: must be a list"},
		{"single value expected", minimal + "name: [a]\n", "the.yaml:4:7: name: must be a string, not a list"},
		{"number for a string", minimal + "name: 012\n", `the.yaml:4:7: YAML parsers do not agree which number "012" is`},
		{"an invisible character in the name", minimal + "name: \"core\u200b\"\n", `the.yaml:4:1: name: "core\u200b" is not a valid name`},
		{"a URL for a host", minimal + "api: {hosts: [\"http://x\"]}\n", `the.yaml:4:7: api.hosts: "http://x" is not a host name`},
		{"boolean for a string", minimal + "name: true\n", `the.yaml:4:7: name: must be a string, not the boolean true; quote it: "true"`},
		{"string for a boolean", minimal + "api: {insecure: yes}\n", `the.yaml:4:17: api.insecure: must be true or false, not the string "yes"; write true`},
		{"key without a value", minimal + "api:\n", "the.yaml:4:1: api: has no value; give one, or remove the key"},
		{"merge key", "etcd: &e {endpoints: [http://a:1]}\nstore: {<<: *e, url: sqlite:///x.db}", "the.yaml:2:9: merge keys (<<) are not supported"},
		{"tag", minimal + "name: !!str 5\n", `the.yaml:4:7: the tag "!!str" is not supported`},
		{"number for a duration", minimal + "runs: {finished_ttl: 7200}\n", "the.yaml:4:22: runs.finished_ttl: must be a duration with a unit, such as 7200s"},
		{"short ttl", minimal + "runs: {finished_ttl: 59m}\n", "the.yaml:4:8: runs.finished_ttl: must be at least 1h, not 59m"},
		{"no boolean", minimal + "api: {insecure: maybe}\n", `the.yaml:4:17: api.insecure: must be true or false, not the string "maybe"`},
		{"beyond loopback", minimal + "api: {listen: 0.0.0.0:16016, advertise: http://a:1}\n", "the.yaml:4:7: api.listen: 0.0.0.0:16016 can be reached from other machines"},
		{"all addresses", minimal + "api: {listen: ':16016', advertise: http://a:1}\n", "api.listen: :16016 can be reached from other machines"},
		{"a name of another machine", minimal + "api: {listen: 'db-1:16016'}\n", "can be reached from other machines"},
		{"every address is advertised", minimal + "api: {listen: 0.0.0.0:1, insecure: true, advertise: 'http://0.0.0.0:1'}\n",
			"the.yaml:4:42: api.advertise: nobody can reach http://0.0.0.0:1"},
		{"every address of IPv6 is advertised", minimal + "api: {listen: 127.0.0.1:1, advertise: 'http://[::]:1/x'}\n", "api.advertise: nobody can reach"},
		{"loopback is advertised", minimal + "api: {listen: ':1', insecure: true, advertise: 'https://127.1.2.3:1'}\n", "api.advertise: no other machine can reach"},
		{"localhost is advertised", minimal + "api: {listen: '10.0.0.1:1', insecure: true, advertise: 'http://LOCALHOST:1'}\n", "example http://this-machine:1, or listen"},
		{"loopback of IPv6 is advertised", minimal + "api: {listen: '[::]:1', insecure: true, advertise: 'http://[::1]:1'}\n", "api.advertise: no other machine can reach"},
		{"nothing to advertise", minimal + "api: {listen: 0.0.0.0:16016, insecure: true}\n", "api.advertise: is missing"},
		{"no port", minimal + "api: {listen: localhost}\n", `api.listen: "localhost" is not a valid address`},
		{"no etcd", "store: {url: sqlite:///x.db}", "etcd.endpoints is missing; set it in "},
		{"no store", "etcd: {endpoints: [http://a:1]}", "store.url is missing; set it in "},
		{"etcd without scheme", "etcd: {endpoints: ['a:2379']}\nstore: {url: sqlite:///x.db}", `the.yaml:1:8: etcd.endpoints: "a:2379" is not a valid URL of etcd`},
		{"mixed schemes", "etcd: {endpoints: ['http://a:1', 'https://b:1']}\nstore: {url: sqlite:///x.db}", "http and https are mixed"},
		{"another store", "etcd: {endpoints: [http://a:1]}\nstore: {url: postgres://me:secret@x/}", `store.url: "postgres://***@x/" is not the URL of a primary store`},
		{"relative sqlite", "etcd: {endpoints: [http://a:1]}\nstore: {url: sqlite://x.db}", "the absolute path of the file is missing"},
		{"second document", minimal + "---\nname: x\n", "the.yaml:5:1: a second document starts here"},
		{"lease", "etcd: {endpoints: [http://a:1], lease_ttl: 500ms}\nstore: {url: sqlite:///x.db}", "etcd.lease_ttl: must be whole seconds"},
		{"user without password", "etcd: {endpoints: [http://a:1], username: me}\nstore: {url: sqlite:///x.db}", "etcd.password_file is missing"},
		{"no password file", "etcd: {endpoints: [http://a:1], username: me, password_file: /not/there}\nstore: {url: sqlite:///x.db}", "/not/there: no such file"},
		{"level", minimal + "log: {level: loud}\n", `log.level: must be one of trace, debug, info, warn, error, not "loud"`},
		{"forgetting", minimal + "membership: {grace: 1h, forget_after: 1m}\n", "membership.forget_after: must not be shorter"},
		{"no YAML", "a: [\n", "the.yaml:1:1: this is not valid YAML"},
		{"a tab", "api:\n\tlisten: x\n", "the.yaml:2:1: YAML cannot be indented with tabs"},
		{"URL for a list", "etcd: {endpoints: 'http://me:secret@a:1'}", "must be a list of strings"},
		{"URL for a mapping", "store: mongodb://me:secret-that-is-so-long-that-the-message-cuts-it-off-before-its-end@a", "must be a mapping"},
		{"no mapping", "hello", "the.yaml:1:1: must be a mapping"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.LoadCore(write(t, c.text), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant something with %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

func TestProblemsOfAnAgentFileHaveAPlace(t *testing.T) {
	const head = "node: {id: a, cluster: b}\netcd: {endpoints: [http://a:1]}\n"
	cases := []struct{ name, text, want string }{
		{"no node", "etcd: {endpoints: [http://a:1]}", "node.id is missing; set it in "},
		{"a slash", "node: {id: a/b, cluster: c}\netcd: {endpoints: [http://a:1]}", `the.yaml:1:8: node.id: "a/b" is not a valid id`},
		{"dots as an id", "node: {id: .., cluster: c}\netcd: {endpoints: [http://a:1]}", `node.id: ".." is not a valid id`},
		{"a dot as a cluster", "node: {id: a, cluster: .}\netcd: {endpoints: [http://a:1]}", `node.cluster: "." is not a valid id`},
		{"an id with an invisible character", "node: {id: \"a\u200b\", cluster: c}\netcd: {endpoints: [http://a:1]}", `node.id: "a\u200b" is not a valid id`},
		{"a cluster with a no-break space", "node: {id: a, cluster: \"c\u00a0\"}\netcd: {endpoints: [http://a:1]}", `"c\u00a0" is not a valid id`},
		{"a missing space", head + "api: {listen:127.0.0.1:22160}\n", `the.yaml:3:7: "listen:127.0.0.1:22160" is a key without a value: a space is missing`},
		{"a missing space among attributes", "node: {id: a, cluster: c, attributes: {zone:a}}\netcd: {endpoints: [http://a:1]}", `the.yaml:1:40: "zone:a" is a key without a value`},
		{"unknown key of an action", head + "actions:\n  go: {command: [x], timout: 1s}\n", "the.yaml:4:22: actions.go.timout: unknown key; did you mean timeout?"},
		{"a shell line", head + "actions:\n  go: {command: rm -rf x}\n", "the.yaml:4:17: actions.go.command: must be a list of strings"},
		{"no command", head + "actions:\n  go: {timeout: 1s}\n", "the.yaml:4:3: actions.go: has no command"},
		{"name of an action", head + "actions:\n  'go now': {command: [x]}\n", `the.yaml:4:3: actions.go now: "go now" is not a valid name`},
		{"name of an action with its prefix", head + "actions:\n  external.agent.replicante.io/restart: {command: [x]}\n",
			"use letters, digits, '.', '_' and '-'; write restart: a playbook uses it as the action external.agent.replicante.io/restart"},
		{"name of an action with a slash", head + "actions:\n  redis/restart: {command: [x]}\n", "; write restart: a playbook"},
		{"timeout of an action", head + "actions:\n  go: {command: [x], timeout: 5}\n", "the.yaml:4:31: actions.go.timeout: must be a duration with a unit, such as 5s"},
		{"probe", head + "probe: {interval: 1s}\n", "the.yaml:3:1: probe: has no command"},
		{"pace of the probe", head + "probe: {command: [x], interval: 0s}\n", "the.yaml:3:23: probe.interval: must be at least"},
		{"unknown key", head + "node2: {}\n", "the.yaml:3:1: node2: unknown key; did you mean node?"},
		{"attributes that are not JSON", "node: {id: a, cluster: b, attributes: {x: .nan}}\netcd: {endpoints: [http://a:1]}", `the.yaml:1:43: ".nan" is not a finite number`},
		{"an octal attribute", "node: {id: a, cluster: b, attributes: {rack: 012}}\netcd: {endpoints: [http://a:1]}", `the.yaml:1:46: YAML parsers do not agree which number "012" is`},
		{"an attribute that loses a digit", "node: {id: a, cluster: b, attributes: {version: 7.10}}\netcd: {endpoints: [http://a:1]}",
			"node.attributes.version: "},
		{"an attribute that is a date", "node: {id: a, cluster: b, attributes: {built: 2026-01-02}}\netcd: {endpoints: [http://a:1]}",
			"node.attributes.built: "},
		{"attributes that YAML parsers disagree about", "node: {id: a, cluster: b, attributes: {x: {y: no}}}\netcd: {endpoints: [http://a:1]}",
			"the.yaml:1:47: node.attributes.x.y: some YAML parsers read no as a boolean; quote it"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.LoadAgent(write(t, c.text), nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant something with %q", err, c.want)
			}
		})
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	_, err := config.LoadCore(write(t, "nmae: x\napi: {lisen: y}\n"), nil)
	if err == nil || strings.Count(err.Error(), "unknown key") != 2 {
		t.Errorf("got %v", err)
	}
}

func TestAnInvalidEnvironmentVariableIsNamed(t *testing.T) {
	t.Setenv("REPLICORE_RUNS_FINISHED_TTL", "soon")
	_, err := config.LoadCore(write(t, minimal), nil)
	if want := "environment variable REPLICORE_RUNS_FINISHED_TTL: "; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestAFileThatAliasesMakeHugeIsRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("node: {id: a, cluster: b, attributes: {a0: &a0 [x, x]")
	for _, n := range "123456789" {
		p := string(n - 1)
		b.WriteString(", a" + string(n) + ": &a" + string(n) + " [*a" + p + ", *a" + p + ", *a" + p + ", *a" + p + ", *a" + p + ", *a" + p + ", *a" + p + ", *a" + p + "]")
	}
	b.WriteString("}}\netcd: {endpoints: [http://a:1]}\n")
	if _, err := config.LoadAgent(write(t, b.String()), nil); err == nil || !strings.Contains(err.Error(), "the.yaml:1:1: the document is too large with its aliases expanded") {
		t.Errorf("got %v", err)
	}
}

func TestTextsShowNoCredentials(t *testing.T) {
	for _, url := range []string{
		"mongodb://me:hunter2@a:1,b:2/?replicaSet=rs0",
		"mongodb://me:hunter2/@a/",
		"mongodb://a/?tlsCertificateKeyFilePassword=hunter2&x=y",
		"mongodb://a/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
	} {
		core := config.Core{Store: config.Store{URL: url}}
		for _, text := range []string{core.String(), core.Store.String()} {
			if strings.Contains(text, "hunter2") {
				t.Errorf("%s is shown as %s", url, text)
			}
		}
	}
}

func TestTheStoreCommandsNeedNoEtcd(t *testing.T) {
	got, err := config.LoadStore(write(t, "store: {url: sqlite:///x.db}\n"), nil)
	if err != nil || got.Store.URL != "sqlite:///x.db" || got.Runs.FinishedTTL != 336*time.Hour {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := config.LoadStore("", nil); err == nil || !strings.Contains(err.Error(), "store.url is missing") {
		t.Errorf("got %v", err)
	}
}
