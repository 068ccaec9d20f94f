// Package imports has tests of the structure of the source: which package may import which, that the policy is pure, and how
// long its files and functions are. `make check` runs them.
package imports
