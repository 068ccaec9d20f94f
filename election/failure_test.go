package election_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
)

func TestALeaderSurvivesTheLossOfAnEtcdMemberAndIsReplacedWithoutThatMember(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	e := newElections(t, cluster, "/member")
	const ttl = 3 * time.Second
	e.candidate("one", ttl, nil)
	first := e.winner()
	e.candidate("two", ttl, nil)
	e.queued(2)

	cluster.Members[cluster.WaitLeader(t)].Stop(t)
	select {
	case <-first.ctx.Done():
		t.Errorf("the leader lost its leadership with one etcd member: %v", context.Cause(first.ctx))
	case <-time.After(ttl + time.Second):
	}

	first.by.link.Cut()
	if next := e.wins("two"); len(next.beside) > 0 {
		t.Errorf("%v still led when the next began", next.beside)
	}
	if cause := first.ends(t); !errors.Is(cause, etcd.ErrLeaseLost) {
		t.Errorf("the context ended with %v", cause)
	}
}

func TestLeadersStopAndReturnWithEtcd(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	member := cluster.Members[0]
	e := newElections(t, cluster, "/gone")
	const ttl = time.Second

	member.Stop(t)
	e.candidate("one", ttl, nil)
	if err := member.Restart(t); err != nil {
		t.Fatal(err)
	}
	first := e.winner() // it waited for etcd

	member.Stop(t)
	if cause := first.ends(t); !errors.Is(cause, etcd.ErrLeaseLost) {
		t.Errorf("the context ended with %v", cause)
	}
	if err := member.Restart(t); err != nil {
		t.Fatal(err)
	}
	second := e.winner()

	// Another etcd in the same place knows neither lease nor key.
	member.Stop(t)
	if err := os.RemoveAll(filepath.Join(member.DataDir, "member")); err != nil {
		t.Fatal(err)
	}
	if err := member.Restart(t); err != nil {
		t.Fatal(err)
	}
	e.winner()
	if second.ctx.Err() == nil {
		t.Error("the leader of the lost etcd still leads")
	}
}
