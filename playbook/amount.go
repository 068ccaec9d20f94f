package playbook

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Amount is a count of nodes, or a percent of them when Percent is not 0.
type Amount struct {
	Count   int
	Percent int
}

// Of is the amount out of total nodes; a percent is rounded down.
func (a Amount) Of(total int) int {
	if a.Percent == 0 {
		return a.Count
	}
	return total * a.Percent / 100
}

// maxCount bounds counts of nodes. It is far above any cluster, and far below what could overflow Of.
const maxCount = 1_000_000

// amount reads a count or a percent, each at least least.
func (w *walk) amount(n *yaml.Node, path string, least int) (Amount, bool) {
	n = target(n)
	if n.Kind == yaml.ScalarNode && isText(n) {
		digits, percent := strings.CutSuffix(strings.TrimSpace(n.Value), "%")
		number, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 32)
		switch {
		case err != nil || !percent:
			hint := ""
			if err == nil {
				hint = "; a count is written without quotes"
			}
			w.add(n, path, codeBadValue, `must be a count such as 2 or a percent such as "25%%", not %s%s`, quote(n.Value), hint)
			return Amount{}, false
		case int(number) < least || number > 100:
			w.add(n, path, codeBadValue, "must be from %d%% to 100%%, not %s", least, quote(n.Value))
			return Amount{}, false
		}
		return Amount{Percent: int(number)}, true
	}
	if n.Kind != yaml.ScalarNode || n.Tag != tagInt {
		w.wrongType(n, path, `a count such as 2 or a percent such as "25%"`)
		return Amount{}, false
	}
	count, ok := w.integer(n, path, least, maxCount)
	return Amount{Count: count}, ok
}
