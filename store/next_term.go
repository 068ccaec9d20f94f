package store

import (
	"errors"
	"fmt"

	"github.com/replicante-io/playbooks/record"
)

const (
	// MaxTermRaise is how far a floor may raise the term at one time. Terms grow by one at each election, so that what an agent
	// has seen of a store that was restored from a backup is well within it; the bound of agents (see agent.MaxTermJump) is higher.
	MaxTermRaise = 1 << 16
	// MaxTerm is the highest term: it is exact in any reader of JSON.
	MaxTerm = 1 << 53
)

// ErrTermOutOfRange means that the next term would be further above the latest than MaxTermRaise, or that there is no next one.
var ErrTermOutOfRange = errors.New("the term is out of range")

// NextTerm returns the term that follows latest and is greater than floor.
func NextTerm(latest record.Term, floor int64) (int64, error) {
	switch {
	case latest.Term < 0 || latest.Term >= MaxTerm:
		return 0, fmt.Errorf("%w: the latest term is %d, and terms are from 1 to %d: give the installation a new id, see "+
			"\"a term that was driven up\" in docs/operations.md: %w", ErrTermOutOfRange, latest.Term, int64(MaxTerm), ErrUnusable)
	case floor > latest.Term && floor-latest.Term > MaxTermRaise || floor >= MaxTerm:
		return 0, fmt.Errorf("%w: a term above %d is wanted, the latest is %d, and one step is at most %d",
			ErrTermOutOfRange, floor, latest.Term, int64(MaxTermRaise))
	}
	return max(latest.Term, floor) + 1, nil
}
