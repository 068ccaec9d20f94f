package wire

import (
	"encoding/json"
	"strings"
)

// The statuses of a node in the control plane's form, which is also that of a probe.
const (
	StatusHealthy      = "HEALTHY"
	StatusUnhealthy    = "UNHEALTHY"
	StatusUnavailable  = "UNAVAILABLE"
	StatusJoining      = "JOINING"
	StatusLeaving      = "LEAVING"
	StatusNotInCluster = "NOT_IN_CLUSTER"
	StatusUnknown      = "UNKNOWN"
)

// ParseStatus converts a published node status to a status and, for UNKNOWN, its reason. A status that does not exist here is
// UNKNOWN too: other and later agents may have more.
func ParseStatus(published json.RawMessage) (status, reason string) {
	variant, detail := parseEnum(published)
	switch variant {
	case StatusHealthy, StatusUnhealthy, StatusUnavailable, StatusNotInCluster, StatusJoining, StatusLeaving:
		return variant, ""
	case "JOINING_CLUSTER":
		return StatusJoining, ""
	case "LEAVING_CLUSTER":
		return StatusLeaving, ""
	case StatusUnknown:
		return StatusUnknown, detail
	case "":
		return StatusUnknown, "the agent reported no status"
	default:
		return StatusUnknown, "the agent reported an unknown status: " + variant
	}
}

// FormatStatus is the published form of a status; reason is for UNKNOWN only.
func FormatStatus(status, reason string) json.RawMessage {
	switch status {
	case StatusJoining:
		return quote("JOINING_CLUSTER")
	case StatusLeaving:
		return quote("LEAVING_CLUSTER")
	case StatusUnknown:
		return formatEnum(StatusUnknown, reason)
	default:
		return quote(status)
	}
}

// ParseRole converts a published shard role to PRIMARY, SECONDARY, RECOVERING, the agent's own role, or "" for none.
func ParseRole(published json.RawMessage) string {
	variant, detail := parseEnum(published)
	switch variant {
	case "Primary", "Secondary", "Recovering":
		return strings.ToUpper(variant)
	case "Other":
		return detail
	default:
		return variant
	}
}

// FormatRole is the published form of a role.
func FormatRole(role string) json.RawMessage {
	switch role {
	case "PRIMARY":
		return quote("Primary")
	case "SECONDARY":
		return quote("Secondary")
	case "RECOVERING":
		return quote("Recovering")
	default:
		return formatEnum("Other", role)
	}
}

// NodeRole is the role that all shards of a node have; "" where they differ or there are none.
func NodeRole(shards []Shard) string {
	role := ""
	for i := range shards {
		this := ParseRole(shards[i].Role)
		if i > 0 && this != role {
			return ""
		}
		role = this
	}
	return role
}

// ParseUnit converts a published unit to "seconds", "milliseconds" or the agent's own unit.
func ParseUnit(published json.RawMessage) string {
	variant, detail := parseEnum(published)
	if variant == "unit" && detail != "" {
		return detail
	}
	return variant
}

// FormatUnit is the published form of a unit.
func FormatUnit(unit string) json.RawMessage {
	if unit == "seconds" || unit == "milliseconds" {
		return quote(unit)
	}
	return formatEnum("unit", unit)
}

// parseEnum decodes what Rust's serde encodes for an enum: "Variant", or {"Variant": detail}.
func parseEnum(raw json.RawMessage) (variant, detail string) {
	if json.Unmarshal(raw, &variant) == nil {
		return variant, ""
	}
	var tagged map[string]json.RawMessage
	if json.Unmarshal(raw, &tagged) != nil || len(tagged) != 1 {
		return "", ""
	}
	for tag, value := range tagged {
		variant = tag
		if json.Unmarshal(value, &detail) != nil {
			detail = string(value)
		}
	}
	return variant, detail
}

func formatEnum(variant, detail string) json.RawMessage {
	raw, _ := json.Marshal(map[string]string{variant: detail})
	return raw
}

func quote(text string) json.RawMessage {
	raw, _ := json.Marshal(text)
	return raw
}
