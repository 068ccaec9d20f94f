package wire

import (
	"encoding/json"
	"strings"
)

// The statuses of a node in their neutral form, which is also what a probe prints.
const (
	StatusHealthy      = "HEALTHY"
	StatusUnhealthy    = "UNHEALTHY"
	StatusUnavailable  = "UNAVAILABLE"
	StatusJoining      = "JOINING"
	StatusLeaving      = "LEAVING"
	StatusNotInCluster = "NOT_IN_CLUSTER"
	StatusUnknown      = "UNKNOWN"
)

// ParseStatus reads a published node status: its neutral form and, for UNKNOWN, why. What it does not know is UNKNOWN
// too: agents of others and of later versions may say more.
func ParseStatus(published json.RawMessage) (status, reason string) {
	word, detail := parseEnum(published)
	switch word {
	case StatusHealthy, StatusUnhealthy, StatusUnavailable, StatusNotInCluster, StatusJoining, StatusLeaving:
		return word, ""
	case "JOINING_CLUSTER":
		return StatusJoining, ""
	case "LEAVING_CLUSTER":
		return StatusLeaving, ""
	case StatusUnknown:
		return StatusUnknown, detail
	case "":
		return StatusUnknown, "the agent gives no status"
	default:
		return StatusUnknown, "the agent gives a status that is not known here: " + word
	}
}

// FormatStatus is the published form of a neutral status; reason is used for UNKNOWN only.
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

// ParseRole reads a published shard role: PRIMARY, SECONDARY, RECOVERING, the agent's own word, or "" when there is none.
func ParseRole(published json.RawMessage) string {
	word, detail := parseEnum(published)
	switch word {
	case "Primary", "Secondary", "Recovering":
		return strings.ToUpper(word)
	case "Other":
		return detail
	default:
		return word
	}
}

// FormatRole is the published form of a neutral role.
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

// NodeRole is the role of a node whose shards all have one and the same; "" when they differ or there are none.
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

// ParseUnit reads a published unit: "seconds", "milliseconds" or the agent's own word.
func ParseUnit(published json.RawMessage) string {
	word, detail := parseEnum(published)
	if word == "unit" && detail != "" {
		return detail
	}
	return word
}

// FormatUnit is the published form of a unit.
func FormatUnit(unit string) json.RawMessage {
	if unit == "seconds" || unit == "milliseconds" {
		return quote(unit)
	}
	return formatEnum("unit", unit)
}

// parseEnum reads what Rust's serde writes for an enum: "Word", or {"Word": detail}.
func parseEnum(raw json.RawMessage) (word, detail string) {
	if json.Unmarshal(raw, &word) == nil {
		return word, ""
	}
	var tagged map[string]json.RawMessage
	if json.Unmarshal(raw, &tagged) != nil || len(tagged) != 1 {
		return "", ""
	}
	for tag, value := range tagged {
		word = tag
		if json.Unmarshal(value, &detail) != nil {
			detail = string(value)
		}
	}
	return word, detail
}

func formatEnum(word, detail string) json.RawMessage {
	raw, _ := json.Marshal(map[string]string{word: detail})
	return raw
}

func quote(word string) json.RawMessage {
	raw, _ := json.Marshal(word)
	return raw
}
