package yamltree

import (
	"strconv"
	"strings"

	"github.com/replicante-io/playbooks/internal/spelling"
)

// Quote quotes s for a message, cut to 60 characters.
func Quote(s string) string {
	const longest = 60
	count := 0
	for i := range s {
		if count == longest {
			return strconv.Quote(s[:i] + "…")
		}
		count++
	}
	return strconv.Quote(s)
}

// DidYouMean ends a message about an unknown name: with the known name that was probably meant, or with all known names.
func DidYouMean(name string, known []string) string {
	if near := spelling.Nearest(name, known); near != "" {
		return "; did you mean " + near + "?"
	}
	switch {
	case len(known) == 0:
		return ""
	case len(known) == 1:
		return "; expected " + known[0]
	case len(known) > 20:
		return "; expected one of " + strings.Join(known[:20], ", ") + " and others"
	}
	return "; expected one of " + strings.Join(known, ", ")
}
