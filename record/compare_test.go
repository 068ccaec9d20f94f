package record_test

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/record"
)

func TestIDsAreInNaturalOrder(t *testing.T) {
	want := []string{"", "2", "10", "a", "a1b2", "a1b10", "a02", "a2", "a10", "b", "node-1", "node-2", "node-2a", "node-10", "rack-1-node-9", "rack-1-node-10",
		"rack-2-node-1", "x99999999999999999999998", "x99999999999999999999999", "x100000000000000000000000"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, record.CompareIDs)
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

func TestTheNaturalOrderIsTotal(t *testing.T) {
	id := rapid.StringMatching(`[a01.9-]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := id.Draw(t, "a"), id.Draw(t, "b"), id.Draw(t, "c")
		ab, bc, ac := record.CompareIDs(a, b), record.CompareIDs(b, c), record.CompareIDs(a, c)
		if ab != -record.CompareIDs(b, a) || (ab == 0) != (a == b) || cmp.Compare(ab, 0) != ab {
			t.Fatalf("%q and %q: %d, %d", a, b, ab, record.CompareIDs(b, a))
		}
		if ab <= 0 && bc <= 0 && ac > 0 {
			t.Fatalf("%q, %q, %q are in a circle", a, b, c)
		}
	})
}
