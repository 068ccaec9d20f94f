package playbook

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/replicante-io/playbooks/internal/yamltree"
)

// Amount is a number of nodes, or a percentage of them if Percent is not 0.
type Amount struct {
	Count   int
	Percent int
}

// Of is the amount as a number of nodes out of total. A percentage is rounded down.
func (a Amount) Of(total int) int {
	if a.Percent == 0 {
		return a.Count
	}
	return total * a.Percent / 100
}

// maxCount bounds numbers of nodes. It is far more than any cluster has, and far less than what overflows Of.
const maxCount = 1_000_000

// amount reads a count or a percentage of at least least.
func (w *walk) amount(n *yaml.Node, path string, least int) (Amount, bool) {
	n = yamltree.Target(n)
	if yamltree.IsString(n) {
		digits, percent := strings.CutSuffix(strings.TrimSpace(n.Value), "%")
		number, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 32)
		switch {
		case err != nil || !percent:
			hint := ""
			if err == nil {
				hint = "; write a count without quotes"
			}
			w.Add(n, path, yamltree.CodeBadValue, `must be a count such as 2 or a percentage such as "25%%", not %s%s`, yamltree.Quote(n.Value), hint)
			return Amount{}, false
		case int(number) < least || number > 100:
			w.Add(n, path, yamltree.CodeBadValue, "must be between %d%% and 100%%, not %s", least, yamltree.Quote(n.Value))
			return Amount{}, false
		}
		return Amount{Percent: int(number)}, true
	}
	if !yamltree.IsInt(n) {
		w.WrongType(n, path, `a count such as 2 or a percentage such as "25%"`)
		return Amount{}, false
	}
	count, ok := w.Int(n, path, least, maxCount)
	return Amount{Count: count}, ok
}
