// Package failover tests what an installation of several replicas promises when one of its parts is killed, frozen, cut off or
// restored from a backup. Each test does one thing to the real programs; package robustness does them all at random. It has only
// tests.
package failover
