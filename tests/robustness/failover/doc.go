// Package failover tests what an installation of several replicas promises when its parts are killed, frozen, cut off,
// and restored from what they were: the programs themselves, each in a process of its own. It has only tests.
package failover
