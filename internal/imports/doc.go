// Package imports holds the rules of who may import whom in this house, as a test: `make check` runs it.
package imports
