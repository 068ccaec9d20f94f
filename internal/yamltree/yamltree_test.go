package yamltree_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

func TestALoadedValueIsTheValueThatWasGiven(t *testing.T) {
	scalar := rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.Int64(), func(i int64) any { return i }),
		rapid.Map(rapid.Float64Range(-1e300, 1e300), func(f float64) any { return f }),
		rapid.SampledFrom([]any{"", "no", "012", "7.10", "2024-01-02", "~", "${node.id}"}))
	rapid.Check(t, func(r *rapid.T) {
		given := map[string]any{
			"list":   rapid.SliceOf(scalar).Draw(r, "list"),
			"object": rapid.MapOf(rapid.StringMatching(`[a-z_]{1,8}`), scalar).Draw(r, "object"),
		}
		reader, root, err := yamltree.Load(given)
		if err != nil || !root.Given() {
			r.Fatal(err, reader.Problems())
		}
		reader.CheckUntyped(root)
		if diff := cmp.Diff(any(given), root.Decode()); diff != "" || len(reader.Problems()) > 0 {
			r.Fatal(reader.Problems(), diff)
		}
	})
}

func TestMessagesStartWithThePathThatIsAskedFor(t *testing.T) {
	for full, want := range map[bool]string{false: "listen: unknown key", true: "api.listen: unknown key"} {
		reader, roots := yamltree.Parse("x.yaml", []byte("api: {listen: y}\n"), 100)
		reader.FullPaths = full
		top, _ := reader.Object(roots[0])
		api, _ := reader.Object(top.Get("api"))
		api.End(nil)
		top.End(nil)
		problems := reader.Problems()
		if len(problems) != 1 || problems[0].Message != want || problems[0].Path != "api.listen" || problems[0].Line != 1 || problems[0].Column != 7 {
			t.Errorf("got %+v", problems)
		}
	}
}
