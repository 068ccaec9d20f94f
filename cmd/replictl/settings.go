package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// settings come from flags, the environment and the context; the first that sets a key wins.
type settings struct {
	servers                   []string
	token, cluster            string
	format                    string
	logLevel, logFormat       string
	contextName, contextsFile string
}

func (s *settings) load(flags *pflag.FlagSet) error {
	v := viper.New()
	v.SetEnvPrefix("RCTL")
	for _, key := range []string{"server", "cluster", "token", "output", "context", "config"} {
		if err := v.BindEnv(key); err != nil {
			return err
		}
	}
	for _, key := range []string{"server", "cluster", "output", "context", "config", "log-level", "log-format"} {
		if flag := flags.Lookup(key); flag != nil {
			if err := v.BindPFlag(key, flag); err != nil {
				return err
			}
		}
	}
	s.contextsFile = v.GetString("config")
	if s.contextsFile == "" {
		folder, err := os.UserConfigDir()
		if err == nil {
			s.contextsFile = filepath.Join(folder, "replictl", "config.yaml")
		}
	}
	file, err := readContexts(s.contextsFile)
	if err != nil {
		return err
	}
	if err := s.readContext(v, flags, file); err != nil {
		return err
	}
	s.servers = nil
	for _, entry := range v.GetStringSlice("server") {
		s.servers = append(s.servers, strings.FieldsFunc(entry, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	s.cluster, s.token, s.format = v.GetString("cluster"), v.GetString("token"), v.GetString("output")
	s.logLevel, s.logFormat = v.GetString("log-level"), v.GetString("log-format")
	switch {
	case !slices.Contains([]string{"table", "json", "yaml"}, s.format):
		return fmt.Errorf("%q is not a valid output: use table, json or yaml", s.format)
	case hclog.LevelFromString(s.logLevel) == hclog.NoLevel:
		return fmt.Errorf("%q is not a valid log level: use trace, debug, info, warn, error or off", s.logLevel)
	case s.logFormat != "text" && s.logFormat != "json":
		return fmt.Errorf("%q is not a valid log format: use text or json", s.logFormat)
	}
	return nil
}

// readContext lays the settings of the chosen context under those of the environment, or over them where a flag chooses it.
func (s *settings) readContext(v *viper.Viper, flags *pflag.FlagSet, file contextsFile) error {
	s.contextName = v.GetString("context")
	if s.contextName == "" {
		s.contextName = file.Current
	}
	if s.contextName == "" {
		return nil
	}
	chosen, ok := file.Contexts[s.contextName]
	if !ok && v.GetString("context") != "" {
		return fmt.Errorf("there is no context %q in %s; to see the contexts: replictl context list", s.contextName, s.contextsFile)
	}
	if err := v.MergeConfigMap(chosen.keys()); err != nil {
		return err
	}
	if flag := flags.Lookup("context"); flag == nil || !flag.Changed {
		return nil
	}
	for key, value := range chosen.keys() {
		if flag := flags.Lookup(key); flag == nil || !flag.Changed {
			v.Set(key, value)
		}
	}
	return nil
}

// needCluster is the cluster that a command needs.
func (s *settings) needCluster() (string, error) {
	if s.cluster == "" {
		return "", usagef("the cluster is missing: give it with --cluster, RCTL_CLUSTER or a context; to see the clusters: replictl cluster list")
	}
	return s.cluster, nil
}

// actor names the caller for the control plane: user@host, in printable ASCII.
func actor() string {
	name := os.Getenv("USER")
	if current, err := user.Current(); err == nil && current.Username != "" {
		name = current.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
	return ascii[:min(len(ascii), 128)]
}
