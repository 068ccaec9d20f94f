package config

import (
	"cmp"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

func (c *Core) check(s *source) {
	if c.Name == "" {
		s.missing("name")
	} else if strings.ContainsFunc(c.Name, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }) {
		s.invalid("name", "%+q is not a valid name; use letters, digits, '.', '_' and '-'", c.Name)
	}
	c.API.check(s)
	c.Etcd.check(s)
	c.Store.check(s)
	c.Runs.check(s)
	if c.Membership.Grace <= 0 {
		s.invalid("membership.grace", "must be greater than 0s")
	}
	if c.Membership.ForgetAfter < c.Membership.Grace {
		s.invalid("membership.forget_after", "must not be shorter than membership.grace (%s)", yamltree.FormatDuration(c.Membership.Grace))
	}
	c.Log.check(s)
}

func (a *Agent) check(s *source) {
	checkID(s, "node.id", a.Node.ID)
	checkID(s, "node.cluster", a.Node.Cluster)
	a.API.check(s)
	a.Etcd.check(s)
	if a.DataDir == "" {
		s.missing("data_dir")
	}
	for name, command := range a.Actions {
		key := "actions." + name
		if !actionName.MatchString(name) {
			s.invalid(key, "%q is not a valid name of an action; use letters, digits, '.', '_' and '-'%s", name, prefixHint(name))
		}
		checkCommand(s, key, command.Command)
		if command.Timeout < 0 {
			s.invalid(key+".timeout", "must not be negative")
		}
	}
	if a.Probe != nil {
		checkCommand(s, "probe", a.Probe.Command)
		if a.Probe.Interval < 100*time.Millisecond {
			s.invalid("probe.interval", "must be at least 100ms, not %s", yamltree.FormatDuration(a.Probe.Interval))
		}
		if a.Probe.Timeout <= 0 {
			s.invalid("probe.timeout", "must be greater than 0s")
		}
	}
	a.Log.check(s)
}

var actionName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`)

// prefixHint says how the name of a command and the action of a playbook belong together, for a name with a slash.
func prefixHint(name string) string {
	prefix, short := name[:strings.LastIndexByte(name, '/')+1], name[strings.LastIndexByte(name, '/')+1:]
	if prefix == "" || !actionName.MatchString(short) {
		return ""
	}
	return "; write " + short + ": a playbook uses it as the action external.agent.replicante.io/" + short
}

func checkCommand(s *source, key string, command []string) {
	if len(command) == 0 || command[0] == "" {
		s.invalid(key, "has no command; write for example command: [/path/to/program, argument]")
	}
}

var validID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}$`)

// checkID checks an id, which becomes part of a key in etcd.
func checkID(s *source, key, id string) {
	switch {
	case id == "":
		s.missing(key)
	case id == "." || id == ".." || !validID.MatchString(id):
		s.invalid(key, "%+q is not a valid id; use at most 253 letters (a to z), digits, '.', '_' and '-', and not '.' or '..' alone", id)
	}
}

func (a API) check(s *source) {
	host, port, splits := splitListen(a.Listen)
	switch {
	case !splits:
		s.invalid("api.listen", "%q is not a valid address; write for example 127.0.0.1:16016", a.Listen)
	case !a.Insecure && !loopback(host):
		s.invalid("api.listen", "%s can be reached from other machines, and there is no TLS and no authentication yet; "+
			"listen on 127.0.0.1, or set api.insecure: true if the network is trusted", a.Listen)
	case a.Advertise == "":
		s.invalid("api.advertise", "is missing; set the URL under which others reach %s, for example http://this-machine:%s", a.Listen, port)
	}
	for _, host := range a.Hosts {
		if !hostName.MatchString(host) {
			s.invalid("api.hosts", "%+q is not a host name; write for example playbooks.example.com", host)
		}
	}
	if a.Advertise == "" {
		return
	}
	u, ok := webURL(a.Advertise)
	switch {
	case !ok || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		s.invalid("api.advertise", "%q is not a valid URL; write for example http://this-machine:16016", hideSecrets(a.Advertise))
	case everywhere(u.Hostname()):
		s.invalid("api.advertise", "nobody can reach %s: %s stands for every address of a machine; write the name or the address under "+
			"which others reach this machine, for example http://this-machine:%s", a.Advertise, u.Hostname(), cmp.Or(port, "16016"))
	case loopback(u.Hostname()) && splits && !loopback(host):
		s.invalid("api.advertise", "no other machine can reach %s: %s is a loopback address; write the name or the address under which "+
			"others reach this machine, for example http://this-machine:%s, or listen on loopback only", a.Advertise, u.Hostname(), port)
	}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]+$|^\[?[0-9A-Fa-f:.]+\]?$`)

func splitListen(listen string) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", "", false
	}
	n, err := strconv.Atoi(port)
	return host, port, err == nil && n >= 0 && n < 1<<16
}

// Loopback reports whether an address to listen on can be reached from this machine only.
func Loopback(listen string) bool {
	host, _, ok := splitListen(listen)
	return ok && loopback(host)
}

// everywhere reports whether listening on host means every address of the machine.
func everywhere(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") || ip != nil && ip.IsLoopback()
}

func webURL(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	return u, err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

func (e Etcd) check(s *source) {
	if len(e.Endpoints) == 0 {
		s.missing("etcd.endpoints")
	}
	schemes := map[string]bool{}
	for _, endpoint := range e.Endpoints {
		u, ok := webURL(endpoint)
		if !ok || u.Path != "" || u.RawQuery != "" {
			s.invalid("etcd.endpoints", "%q is not a valid URL of etcd; write for example http://etcd-1:2379", hideSecrets(endpoint))
			continue
		}
		if u.User != nil {
			s.invalid("etcd.endpoints", "a URL contains a user name; use etcd.username and etcd.password_file instead")
		}
		schemes[u.Scheme] = true
	}
	if len(schemes) > 1 {
		s.invalid("etcd.endpoints", "http and https are mixed; use one of them")
	}
	if !strings.HasPrefix(e.Prefix, "/") || strings.Contains(e.Prefix, "//") {
		s.invalid("etcd.prefix", "%q is not a valid prefix; write for example /replicante", e.Prefix)
	}
	if e.LeaseTTL < 2*time.Second || e.LeaseTTL > time.Hour || e.LeaseTTL%time.Second != 0 {
		s.invalid("etcd.lease_ttl", "must be whole seconds between 2s and 1h, not %s", yamltree.FormatDuration(e.LeaseTTL))
	}
	if e.Username == "" && e.PasswordFile != "" {
		s.invalid("etcd.password_file", "is set, but etcd.username is not; set both or neither")
	}
	if e.Username != "" && e.PasswordFile == "" {
		s.missing("etcd.password_file")
	}
	if _, err := e.Password(); err != nil {
		s.invalid("etcd.password_file", "%v", err)
	}
}

func (c Store) check(s *source) {
	if c.URL == "" {
		s.missing("store.url")
		return
	}
	scheme, rest, _ := strings.Cut(c.URL, "://")
	switch scheme {
	case "mongodb", "mongodb+srv":
		if c.Database == "" {
			s.missing("store.database")
		}
	case "sqlite":
		if !strings.HasPrefix(rest, "/") || len(rest) < 2 {
			s.invalid("store.url", "the absolute path of the file is missing; write for example sqlite:///var/lib/replicante/core.db")
		}
	default:
		s.invalid("store.url", "%q is not the URL of a primary store; write mongodb://… or sqlite:///…", hideSecrets(c.URL))
	}
}

func (r Runs) check(s *source) {
	if r.FinishedTTL < time.Hour {
		s.invalid("runs.finished_ttl", "must be at least 1h, not %s", yamltree.FormatDuration(r.FinishedTTL))
	}
}

func (l Log) check(s *source) {
	for _, k := range scalarsOf(reflect.TypeOf(l)) {
		if value := reflect.ValueOf(l).FieldByIndex(k.index).String(); !slices.Contains(k.choices, value) {
			s.invalid("log."+k.path, "must be one of %s, not %q", strings.Join(k.choices, ", "), value)
		}
	}
}
