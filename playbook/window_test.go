package playbook_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/playbook"
	"github.com/replicante-io/playbooks/record"
)

func withWindows(windows string) string {
	return "apiVersion: replicante.io/v1\nkind: Playbook\nmetadata: {name: x}\nspec:\n  windows: " + windows +
		"\n  stages: [{name: a, steps: [{name: one, action: x}]}]\n"
}

func TestWindowsAreReadWithTheirTimeZones(t *testing.T) {
	windows := parse(t, withWindows(`[{cron: "0 22 * * *", for: 6h, time_zone: Europe/Rome}, {cron: "0 6 * * *", for: 1m}]`))[0].Spec.Windows
	if len(windows) != 2 {
		t.Fatal(windows)
	}
	for text, open := range map[string]bool{"2026-07-01T20:00:00Z": true, "2026-07-01T19:59:00Z": false, "2026-07-02T02:00:00Z": false, "2026-07-02T06:00:30Z": true} {
		at, _ := time.Parse(time.RFC3339, text)
		if windows.Open(at) != open {
			t.Errorf("at %s it is open: %t", text, !open)
		}
	}
}

func TestABadWindowIsRefusedWithItsPlaceAndTheReason(t *testing.T) {
	for windows, want := range map[string]string{
		`[{cron: "0 22 * *", for: 6h}]`:                              "is not a valid cron expression",
		`[{cron: "0 25 * * *", for: 6h}]`:                            "above maximum (23)",
		`[{cron: "0 0 31 2 *", for: 6h}]`:                            "never comes: there is no such day",
		`[{cron: "TZ=UTC 0 0 1 2 *", for: 6h}]`:                      "use time_zone",
		`[{cron: "0 0 * * *"}]`:                                      "for: is missing",
		`[{for: 6h}]`:                                                "cron: is missing",
		`[{cron: "0 0 * * *", for: 10s}]`:                            "must be between 1m and",
		`[{cron: "0 0 * * *", for: 1h, time_zone: Europe/Atlantis}]`: `"Europe/Atlantis" is not a known time zone`,
		`[{cron: "0 0 * * *", for: 1h, zone: UTC}]`:                  "zone: unknown key",
		`{cron: "0 0 * * *", for: 1h}`:                               "must be a list",
		`[]`:                                                         "windows",
	} {
		_, err := playbook.Parse("x.yaml", []byte(withWindows(windows)))
		var problems record.Problems
		if !errors.As(err, &problems) {
			t.Errorf("%s: %v", windows, err)
			continue
		}
		text := ""
		for _, p := range problems {
			text += p.String() + "\n"
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s: %q, not %q", windows, text, want)
		}
	}
}
