package faults

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/internal/failpoint"
)

// kind is a kind of fault with the bounds of how long it lasts.
type kind struct {
	action    Action
	target    string
	peerPoint string // as in Fault
	min, max  time.Duration
}

// track is a sequence of faults of one part of the installation. Except for faults of a quorum, its faults leave the
// installation what it needs to work.
type track struct {
	name     string
	kinds    []kind
	min, max time.Duration // between one fault and the next
}

// points are all failpoints of a leader.
var points = []string{
	failpoint.Elected, failpoint.Claimed, failpoint.Decided, failpoint.Committed, failpoint.Sending, failpoint.Sent, failpoint.Answered,
	failpoint.Creating, failpoint.Created, failpoint.Stamping,
}

// rarePoints are not passed often enough to wait for the second time.
var rarePoints = []string{failpoint.Elected, failpoint.Claimed, failpoint.Creating, failpoint.Created}

func tracks(ttl time.Duration) []track {
	const s, ms = time.Second, time.Millisecond
	replicas := []kind{
		{Kill, Leader, "", 0, 2 * s}, {Kill, Leader, "", 0, 2 * s}, {Terminate, Leader, "", 0, 2 * s},
		{Freeze, Leader, "", 300 * ms, ttl / 2}, {Freeze, Leader, "", ttl + s, 2*ttl + s},
		{Kill, Follower, "", 0, 3 * s}, {Freeze, Follower, "", s, 2 * ttl},
		{Disconnect, Leader, failpoint.Etcd, s, 2 * ttl}, {Disconnect, Leader, failpoint.Store, s, 6 * s}, {Disconnect, Leader, failpoint.Agents, s, 6 * s},
		{Disconnect, Follower, failpoint.Replica, s, 4 * s}, {Disconnect, Follower, failpoint.Store, s, 6 * s},
	}
	for _, point := range points {
		// A stopped leader continues this long after another one leads.
		replicas = append(replicas, kind{KillAtPoint, Leader, point, 0, s}, kind{StopAtPoint, Leader, point, 0, 1500 * ms})
	}
	agents := []kind{
		{Kill, BusyAgent, "", 0, 3 * s}, {Kill, BusyAgent, "", 0, 3 * s}, {Kill, BusyAgent, "", 0, 3 * s},
		{Kill, Agent, "", 20 * s, 25 * s}, // longer than lease and grace
		{Terminate, BusyAgent, "", 0, 3 * s}, {Freeze, BusyAgent, "", 300 * ms, 4 * s},
		{Freeze, BusyAgent, "", 9 * s, 13 * s}, // longer than the timeout of a step
		{Disconnect, Agent, failpoint.Etcd, 2 * s, 15 * s},
	}
	clocks := []kind{{StepClock, Leader, "", s, 6 * s}, {StepClock, NextLeader, "", s, 4 * s}}
	replicas = append(replicas, slices.Concat(clocks, clocks)...)
	agents = append(agents, kind{StepClock, Agent, "", s, 6 * s})
	gentle := []kind{
		{Terminate, GentleAgent, "", 0, 8 * s}, {Kill, GentleAgent, "", 0, 8 * s}, {Kill, GentleAgent, "", 7 * s, 8 * s},
		{SlowProbe, GentleAgent, "", 8 * s, 20 * s}, {SlowProbe, GentleAgent, "", 8 * s, 20 * s}, {StepClock, GentleAgent, "", s, 6 * s},
	}
	return []track{
		{"replicas", replicas, s, 4 * s},
		{"etcd", []kind{
			{Kill, EtcdMember, "", 500 * ms, 4 * s}, {Kill, EtcdMember, "", 500 * ms, 4 * s}, {Terminate, EtcdMember, "", 0, 2 * s},
			{Freeze, EtcdMember, "", s, 5 * s}, {Kill, EtcdQuorum, "", s, 5 * s}, {Freeze, EtcdQuorum, "", s, 5 * s},
		}, 6 * s, 14 * s},
		{"mongod", []kind{
			{Kill, Primary, "", 500 * ms, 4 * s}, {Kill, Secondary, "", s, 5 * s}, {Terminate, Primary, "", s, 3 * s},
			{Freeze, Primary, "", s, 6 * s}, {Kill, MongodQuorum, "", s, 4 * s},
		}, 10 * s, 20 * s},
		{"agents 1", agents, 300 * ms, 2 * s},
		{"agents 2", agents, 300 * ms, 3 * s},
		{"gentle 1", gentle, s, 4 * s},
		{"gentle 2", gentle, s, 4 * s},
		{"foreign", []kind{{Hostile, ForeignAgent, "", s, 6 * s}}, 500 * ms, 3 * s},
	}
}

// A slow probe takes longer than others wait for an answer, and no longer than it may.
const maxAnswer, maxProbe = 3 * time.Second, 9 * time.Second

// Schedule returns the faults that follow from a seed, in the order of their time.
func Schedule(seed uint64, duration, ttl time.Duration) []Fault {
	var all []Fault
	for i, track := range tracks(ttl) {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		between := func(from, to time.Duration) time.Duration {
			return (from + time.Duration(random.Int64N(int64(to-from)+1))).Truncate(time.Millisecond)
		}
		var left []kind // of this round: each kind comes once per round
		for at := between(0, track.max); at < duration; {
			if len(left) == 0 {
				left = slices.Clone(track.kinds)
				random.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
			}
			k := left[0]
			left = left[1:]
			f := Fault{At: at, Track: track.name, Action: k.action, Target: k.target, Nth: 1 + random.IntN(100), Lasts: between(k.min, k.max)}
			switch {
			case f.atPoint():
				f.Point = k.peerPoint
				if f.Nth = 1 + f.Nth%3; slices.Contains(rarePoints, f.Point) {
					f.Nth = 1
				}
			case f.Action == Disconnect:
				f.Peer = k.peerPoint
			case f.Action == SlowProbe:
				f.By = between(maxAnswer, maxProbe)
			case f.Action == StepClock:
				if f.By = between(5*time.Second, 2*time.Minute); random.IntN(2) == 0 {
					f.By = -f.By
				}
			}
			next := at + f.Lasts + between(track.min, track.max)
			f.Lasts = min(f.Lasts, duration-at)
			all = append(all, f)
			at = next
		}
	}
	slices.SortStableFunc(all, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return all
}
