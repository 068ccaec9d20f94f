package playbook

import (
	"strconv"
	"strings"

	"github.com/replicante-io/playbooks/internal/keys"
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

// amount reads a count or a percentage.
func (w *walk) amount(v yamltree.Value, bounds keys.Amount) (Amount, bool) {
	if v.IsString() {
		digits, percent := strings.CutSuffix(strings.TrimSpace(v.Text()), "%")
		number, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 32)
		switch {
		case err != nil || !percent:
			hint := ""
			if err == nil {
				hint = "; write a count without quotes"
			}
			w.Add(v, yamltree.CodeBadValue, `must be a count such as 2 or a percentage such as "25%%", not %s%s`, yamltree.Quote(v.Text()), hint)
			return Amount{}, false
		case int(number) < bounds.Least || number > 100:
			w.Add(v, yamltree.CodeBadValue, "must be between %d%% and 100%%, not %s", bounds.Least, yamltree.Quote(v.Text()))
			return Amount{}, false
		}
		return Amount{Percent: int(number)}, true
	}
	if !v.IsInt() {
		w.WrongType(v, `a count such as 2 or a percentage such as "25%"`)
		return Amount{}, false
	}
	count, ok := w.Int(v, bounds.Least, bounds.Most)
	return Amount{Count: count}, ok
}
