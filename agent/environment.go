package agent

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/replicante-io/playbooks/agent/wire"
)

const (
	envPrefix = "REPLICANTE_"
	// envActionID marks an action's processes, envProbe those of the probe.
	envActionID = envPrefix + "ACTION_ID"
	envProbe    = envPrefix + "PROBE"
	// maxArgVariable bounds an argument's variable. Linux starts no program with one of 128 KiB.
	maxArgVariable = 32 << 10
)

// agentVariables are what the agent's own environment holds for the agent alone: its configuration, and what systemd sets for
// a service (systemd.exec(5)). A program that took NOTIFY_SOCKET for its own would wait for an answer, or report for the agent.
var agentVariables = struct{ names, prefixes []string }{
	names: []string{"NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "MANAGERPID", "SYSTEMD_EXEC_PID", "PIDFILE",
		"FDSTORE", "CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY",
		"CONFIGURATION_DIRECTORY"},
	prefixes: []string{envPrefix, "REPLIAGENT_", "WATCHDOG_", "LISTEN_", "MEMORY_PRESSURE_"},
}

// inheritedEnvironment is what a command gets of the agent's environment.
func inheritedEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(agentVariables.names, name) ||
			slices.ContainsFunc(agentVariables.prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	})
}

func (a *Agent) actionEnvironment(action wire.Action) []string {
	environment := []string{
		envActionID + "=" + action.ID,
		envPrefix + "ACTION_KIND=" + action.Kind,
		envPrefix + "NODE_ID=" + a.cfg.NodeID,
		envPrefix + "CLUSTER_ID=" + a.cfg.ClusterID,
	}
	if term, given := action.Metadata[wire.MetaTerm]; given {
		environment = append(environment, envPrefix+"TERM="+term)
	}
	return environment
}

// argEnvironment is a variable for each scalar of args: strings as they are, numbers and booleans as in JSON. One that is
// larger than maxArgVariable has none: the command reads it from its standard input.
func argEnvironment(args json.RawMessage) ([]string, error) {
	var values map[string]json.RawMessage
	if len(args) > 0 {
		if err := json.Unmarshal(args, &values); err != nil {
			return nil, invalid("args must be an object like {name: value}")
		}
	}
	from := map[string]string{}
	var environment []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := string(values[name])
		switch value[0] {
		case '{', '[', 'n': // an object, a list or null
			continue
		case '"':
			if err := json.Unmarshal(values[name], &value); err != nil {
				return nil, invalid("argument %s: %s", name, err)
			}
		}
		variable := envPrefix + "ARG_" + variableName(name)
		if other, taken := from[variable]; taken {
			return nil, invalid("arguments %s and %s would both be the variable %s", other, name, variable)
		}
		from[variable] = name
		if len(value) <= maxArgVariable {
			environment = append(environment, variable+"="+value)
		}
	}
	return environment, nil
}

func variableName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		default:
			return '_'
		}
	}, name)
}
