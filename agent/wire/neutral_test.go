package wire_test

import (
	"encoding/json"
	"testing"

	"github.com/replicante-io/playbooks/agent/wire"
)

func TestPublishedStatusesAreParsed(t *testing.T) {
	cases := []struct{ published, status, reason string }{
		{`"HEALTHY"`, "HEALTHY", ""},
		{`"UNAVAILABLE"`, "UNAVAILABLE", ""},
		{`"NOT_IN_CLUSTER"`, "NOT_IN_CLUSTER", ""},
		{`"JOINING_CLUSTER"`, "JOINING", ""},
		{`"LEAVING_CLUSTER"`, "LEAVING", ""},
		{`{"UNKNOWN":"no route"}`, "UNKNOWN", "no route"},
		{`"UNKNOWN"`, "UNKNOWN", ""},
		{`"SLEEPING"`, "UNKNOWN", "the agent reported an unknown status: SLEEPING"},
		{`null`, "UNKNOWN", "the agent reported no status"},
		{``, "UNKNOWN", "the agent reported no status"},
		{`{"UNKNOWN":{"code":1}}`, "UNKNOWN", `{"code":1}`},
	}
	for _, c := range cases {
		status, reason := wire.ParseStatus(json.RawMessage(c.published))
		if status != c.status || reason != c.reason {
			t.Errorf("ParseStatus(%s) = %q, %q; want %q, %q", c.published, status, reason, c.status, c.reason)
		}
	}
}

func TestWhatIsFormattedIsParsedBack(t *testing.T) {
	for _, status := range []string{wire.StatusHealthy, wire.StatusUnhealthy, wire.StatusUnavailable, wire.StatusJoining,
		wire.StatusLeaving, wire.StatusNotInCluster} {
		if got, _ := wire.ParseStatus(wire.FormatStatus(status, "")); got != status {
			t.Errorf("status %s is parsed back as %s", status, got)
		}
	}
	if status, reason := wire.ParseStatus(wire.FormatStatus(wire.StatusUnknown, "why")); status != "UNKNOWN" || reason != "why" {
		t.Errorf("UNKNOWN is parsed back as %s, %s", status, reason)
	}
	for _, role := range []string{"PRIMARY", "SECONDARY", "RECOVERING", "arbiter"} {
		if got := wire.ParseRole(wire.FormatRole(role)); got != role {
			t.Errorf("role %s is parsed back as %s", role, got)
		}
	}
	for _, unit := range []string{"seconds", "milliseconds", "entries"} {
		if got := wire.ParseUnit(wire.FormatUnit(unit)); got != unit {
			t.Errorf("unit %s is parsed back as %s", unit, got)
		}
	}
}

func TestPublishedRolesAreParsed(t *testing.T) {
	for published, want := range map[string]string{
		`"Primary"`: "PRIMARY", `"Secondary"`: "SECONDARY", `"Recovering"`: "RECOVERING", `{"Other":"x"}`: "x", `null`: "",
	} {
		if got := wire.ParseRole(json.RawMessage(published)); got != want {
			t.Errorf("ParseRole(%s) = %q, want %q", published, got, want)
		}
	}
}

func TestNodeWhoseShardsDifferHasNoRole(t *testing.T) {
	primary, secondary := wire.Shard{Role: wire.FormatRole("PRIMARY")}, wire.Shard{Role: wire.FormatRole("SECONDARY")}
	if got := wire.NodeRole([]wire.Shard{primary, primary}); got != "PRIMARY" {
		t.Errorf("two primary shards: %q", got)
	}
	if got := wire.NodeRole([]wire.Shard{primary, secondary}); got != "" {
		t.Errorf("a primary and a secondary shard: %q", got)
	}
	if got := wire.NodeRole(nil); got != "" {
		t.Errorf("no shards: %q", got)
	}
}
