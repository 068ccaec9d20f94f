// Package spelling finds the name that was probably meant by one that is not known.
package spelling

import "strings"

// Nearest is the known name that was probably meant, or "".
func Nearest(name string, known []string) string {
	if len(name) > 64 {
		return ""
	}
	plain := normalized(name)
	best, bestDistance := "", 3
	for _, candidate := range known {
		other := normalized(candidate)
		if plain == other {
			return candidate
		}
		limit := min(2, (min(len(plain), len(other))-1)/2)
		if d := distance(plain, other); d <= limit && d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// normalized is the same for maxFailures, max-failures and max_failures.
func normalized(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(name))
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to get from a to b.
func distance(a, b string) int {
	var before []int
	previous, current := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, make([]int, len(b)+1)
	}
	return previous[len(b)]
}
