package config

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (c *Core) check(s *source) {
	if c.Name == "" {
		s.missing("name")
	}
	c.API.check(s)
	c.Etcd.check(s)
	c.Store.check(s)
	c.Runs.check(s)
	if c.Membership.Grace <= 0 {
		s.fault("membership.grace", "must be longer than 0s")
	}
	if c.Membership.ForgetAfter < c.Membership.Grace {
		s.fault("membership.forget_after", "must not be shorter than membership.grace (%v)", c.Membership.Grace)
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
			s.fault(key, "%q is no name for an action: use letters, digits, '.', '_', '-' and '/'", name)
		}
		checkCommand(s, key, command.Command)
		if command.Timeout < 0 {
			s.fault(key+".timeout", "must not be negative")
		}
	}
	if a.Probe != nil {
		checkCommand(s, "probe", a.Probe.Command)
		if a.Probe.Interval < 100*time.Millisecond {
			s.fault("probe.interval", "must be at least 100ms")
		}
	}
	a.Log.check(s)
}

var actionName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$`)

func checkCommand(s *source, key string, command []string) {
	if len(command) == 0 || command[0] == "" {
		s.fault(key, "has no command: write command: [/path/to/program, argument]")
	}
}

// checkID allows what can be a part of a key in etcd.
func checkID(s *source, key, id string) {
	switch {
	case id == "":
		s.missing(key)
	case len(id) > 255 || strings.ContainsFunc(id, func(r rune) bool { return r == '/' || r <= ' ' || r == 0x7f }):
		s.fault(key, "%q cannot be an id: at most 255 characters, no spaces, no slashes", id)
	}
}

func (a API) check(s *source) {
	host, port, ok := splitListen(a.Listen)
	switch {
	case !ok:
		s.fault("api.listen", "%q is no address: write 127.0.0.1:16016", a.Listen)
	case !a.Insecure && !loopback(host):
		s.fault("api.listen", "%s is reached from other machines, and there is no TLS and no token yet: "+
			"listen on 127.0.0.1, or set api.insecure: true if the network is trusted", a.Listen)
	case a.Advertise == "":
		s.fault("api.advertise", "is missing: say under which URL others reach %s, for example http://this-machine:%s", a.Listen, port)
	}
	if a.Advertise == "" {
		return
	}
	if u, ok := webURL(a.Advertise); !ok || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		s.fault("api.advertise", "%q is no URL: write http://this-machine:16016", hideSecrets(a.Advertise))
	}
}

func splitListen(listen string) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", "", false
	}
	n, err := strconv.Atoi(port)
	return host, port, err == nil && n >= 0 && n < 1<<16
}

// Loopback tells whether an address to listen on is reached from this machine only.
func Loopback(listen string) bool {
	host, _, ok := splitListen(listen)
	return ok && loopback(host)
}

func everywhere(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
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
			s.fault("etcd.endpoints", "%q is no URL of etcd: write http://etcd-1:2379", hideSecrets(endpoint))
			continue
		}
		if u.User != nil {
			s.fault("etcd.endpoints", "a URL holds a user name: use etcd.username and etcd.password_file")
		}
		schemes[u.Scheme] = true
	}
	if len(schemes) > 1 {
		s.fault("etcd.endpoints", "http and https are mixed: use one")
	}
	if !strings.HasPrefix(e.Prefix, "/") || strings.Contains(e.Prefix, "//") {
		s.fault("etcd.prefix", "%q is no prefix: write /replicante", e.Prefix)
	}
	if e.LeaseTTL < 2*time.Second || e.LeaseTTL > time.Hour || e.LeaseTTL%time.Second != 0 {
		s.fault("etcd.lease_ttl", "must be whole seconds, from 2s to 1h, not %v", e.LeaseTTL)
	}
	if e.Username == "" && e.PasswordFile != "" {
		s.fault("etcd.password_file", "there is no etcd.username that it belongs to")
	}
	if e.Username != "" && e.PasswordFile == "" {
		s.missing("etcd.password_file")
	}
	if _, err := e.Password(); err != nil {
		s.fault("etcd.password_file", "%v", err)
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
			s.fault("store.url", "a path is missing: write sqlite:///var/lib/replicante/core.db")
		}
	default:
		s.fault("store.url", "%q is no primary store: write mongodb://… or sqlite:///…", hideSecrets(c.URL))
	}
}

func (r Runs) check(s *source) {
	if r.FinishedTTL < time.Hour {
		s.fault("runs.finished_ttl", "must be at least 1h, not %v: finished runs would be gone before anyone reads them", r.FinishedTTL)
	}
}

func (l Log) check(s *source) {
	if levels := []string{"trace", "debug", "info", "warn", "error"}; !slices.Contains(levels, l.Level) {
		s.fault("log.level", "%q is none of %s", l.Level, strings.Join(levels, ", "))
	}
	if l.Format != "text" && l.Format != "json" {
		s.fault("log.format", "%q is neither text nor json", l.Format)
	}
}
