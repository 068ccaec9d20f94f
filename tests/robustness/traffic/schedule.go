package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/replicante-io/playbooks/internal/failpoint"
)

// Fault is one thing that is broken and mended again. Who "the leader" or "the primary" is is found when it happens.
type Fault struct {
	At     time.Duration `json:"at"`
	Lane   string        `json:"lane"` // faults of one lane follow each other
	Do     string        `json:"do"`   // kill, terminate, freeze, cut, trap-kill, trap-stop
	Target string        `json:"target"`
	What   string        `json:"what,omitempty"` // the peer that is cut off, or the point of the trap
	Nth    int           `json:"nth,omitempty"`  // of the target's kind, or the pass of the point
	Lasts  time.Duration `json:"lasts"`
}

// Kind names faults that are alike.
func (f Fault) Kind() string {
	kind := f.Do + " " + f.Target
	switch f.Do {
	case "cut":
		kind += " from " + f.What
	case "trap-kill", "trap-stop":
		kind += " at " + f.What
	}
	return kind
}

func (f Fault) String() string {
	text := fmt.Sprintf("%7.1fs  %s for %s", f.At.Seconds(), f.Kind(), f.Lasts)
	if f.Nth > 0 {
		text += fmt.Sprintf(" (%d)", f.Nth)
	}
	return text
}

// card is a kind of fault, and how long it lasts, from and to.
type card struct {
	do, target, what string
	from, to         time.Duration
}

// lane is a sequence of faults of one kind of process, which leaves the installation what it needs to go on, but for
// the cards that take a quorum away.
type lane struct {
	name     string
	deck     []card
	from, to time.Duration // between one fault and the next
}

func lanes(ttl time.Duration) []lane {
	const s, ms = time.Second, time.Millisecond
	replicas := []card{
		{"kill", "leader", "", 0, 2 * s}, {"kill", "leader", "", 0, 2 * s}, {"terminate", "leader", "", 0, 2 * s},
		{"freeze", "leader", "", 300 * ms, ttl / 2}, {"freeze", "leader", "", ttl + s, 2*ttl + s},
		{"kill", "follower", "", 0, 3 * s}, {"freeze", "follower", "", s, 2 * ttl},
		{"cut", "leader", failpoint.Etcd, s, 2 * ttl}, {"cut", "leader", failpoint.Store, s, 6 * s}, {"cut", "leader", failpoint.Agents, s, 6 * s},
		{"cut", "follower", failpoint.Replica, s, 4 * s}, {"cut", "follower", failpoint.Store, s, 6 * s},
	}
	for _, point := range []string{
		failpoint.Elected, failpoint.Claimed, failpoint.Decided, failpoint.Committed, failpoint.Sending, failpoint.Sent, failpoint.Answered, failpoint.Creating, failpoint.Created, failpoint.Stamping,
	} {
		// A stopped one goes on this long after another leads.
		replicas = append(replicas, card{"trap-kill", "leader", point, 0, s}, card{"trap-stop", "leader", point, 0, 1500 * ms})
	}
	agents := []card{
		{"kill", "busy agent", "", 0, 3 * s}, {"kill", "busy agent", "", 0, 3 * s}, {"kill", "busy agent", "", 0, 3 * s},
		{"kill", "agent", "", 20 * s, 25 * s}, // longer than lease and grace
		{"terminate", "busy agent", "", 0, 3 * s}, {"freeze", "busy agent", "", 300 * ms, 4 * s},
		{"freeze", "busy agent", "", 9 * s, 13 * s}, // longer than a step may take
		{"cut", "agent", failpoint.Etcd, 2 * s, 15 * s},
	}
	return []lane{
		{"replicas", replicas, s, 4 * s},
		{"etcd", []card{
			{"kill", "etcd", "", 500 * ms, 4 * s}, {"kill", "etcd", "", 500 * ms, 4 * s}, {"terminate", "etcd", "", 0, 2 * s},
			{"freeze", "etcd", "", s, 5 * s}, {"kill", "etcd quorum", "", s, 5 * s}, {"freeze", "etcd quorum", "", s, 5 * s},
		}, 6 * s, 14 * s},
		{"mongod", []card{
			{"kill", "primary", "", 500 * ms, 4 * s}, {"kill", "secondary", "", s, 5 * s}, {"terminate", "primary", "", s, 3 * s},
			{"freeze", "primary", "", s, 6 * s}, {"kill", "mongod quorum", "", s, 4 * s},
		}, 10 * s, 20 * s},
		{"agents 1", agents, 300 * ms, 2 * s},
		{"agents 2", agents, 300 * ms, 3 * s},
	}
}

// Schedule is the sequence of faults that a seed makes. It is the same whatever happens.
func Schedule(seed uint64, duration, ttl time.Duration) []Fault {
	var all []Fault
	for i, lane := range lanes(ttl) {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		between := func(from, to time.Duration) time.Duration {
			return (from + time.Duration(random.Int64N(int64(to-from)+1))).Truncate(time.Millisecond)
		}
		var hand []card
		for at := between(0, lane.to); at < duration; {
			if len(hand) == 0 {
				hand = slices.Clone(lane.deck)
				random.Shuffle(len(hand), func(i, j int) { hand[i], hand[j] = hand[j], hand[i] })
			}
			c := hand[0]
			hand = hand[1:]
			f := Fault{At: at, Lane: lane.name, Do: c.do, Target: c.target, What: c.what, Nth: 1 + random.IntN(100), Lasts: between(c.from, c.to)}
			if c.do == "trap-kill" || c.do == "trap-stop" {
				if f.Nth = 1 + f.Nth%3; c.what == failpoint.Creating || c.what == failpoint.Created || c.what == failpoint.Elected || c.what == failpoint.Claimed {
					f.Nth = 1 // these are passed rarely
				}
			}
			next := at + f.Lasts + between(lane.from, lane.to)
			f.Lasts = min(f.Lasts, duration-at)
			all = append(all, f)
			at = next
		}
	}
	slices.SortStableFunc(all, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return all
}
