// Package etcd holds what the election and the membership both need of etcd: a client, a Follower that misses no change
// of the keys it follows, and Hold, which keeps a lease whose end is known without asking etcd.
package etcd
