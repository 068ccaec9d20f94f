package spelling_test

import (
	"strings"
	"testing"

	"github.com/replicante-io/playbooks/internal/spelling"
)

func TestNearestFindsTheWordThatWasMeant(t *testing.T) {
	known := []string{"max_failures", "max_unavailable", "order_by", "batch", "steps", "by"}
	for word, want := range map[string]string{
		"maxFailures": "max_failures", "max-failures": "max_failures", "MAX_FAILURES": "max_failures", "max_failure": "max_failures",
		"btach": "batch", "step": "steps", "order": "order_by",
		"foo": "", "": "", "on": "", "x": "", strings.Repeat("batch", 20): "",
	} {
		if got := spelling.Nearest(word, known); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
}
