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

func TestALeaderOutlivesAnEtcdMemberAndIsReplacedWithoutIt(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	f := newField(t, cluster, "/member")
	const ttl = 2 * time.Second
	f.candidate("one", ttl, nil)
	first := f.winner()
	f.candidate("two", ttl, nil)
	f.waiting(2)

	cluster.Members[cluster.WaitLeader(t)].Stop(t)
	select {
	case <-first.ctx.Done():
		t.Errorf("the leader was deposed by the loss of one etcd member: %v", context.Cause(first.ctx))
	case <-time.After(ttl + time.Second):
	}

	first.by.line.Cut()
	ended(t, first.ctx, ttl)
	end := time.Now()
	next := f.winner()
	if next.by.name != "two" || next.began.Before(end) {
		t.Errorf("%s began %s after the first ended", next.by.name, next.began.Sub(end))
	}
	if late := next.began.Sub(end); late > ttl+time.Second {
		t.Errorf("the next leader came %s late", late)
	}
}

func TestLeadersComeAndGoWithEtcd(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	member := cluster.Members[0]
	f := newField(t, cluster, "/gone")
	const ttl = time.Second

	member.Stop(t)
	f.candidate("one", ttl, nil)
	if err := member.Restart(t); err != nil {
		t.Fatal(err)
	}
	first := f.winner() // it waited for etcd

	member.Stop(t)
	stopped := time.Now()
	ended(t, first.ctx, 5*time.Second)
	if took := time.Since(stopped); took > ttl-etcd.Margin(ttl)+200*time.Millisecond {
		t.Errorf("the context ended %s after etcd stopped", took)
	}
	if !errors.Is(context.Cause(first.ctx), etcd.ErrLeaseLost) {
		t.Errorf("cause: %v", context.Cause(first.ctx))
	}
	if err := member.Restart(t); err != nil {
		t.Fatal(err)
	}
	second := f.winner()

	// Another etcd in the same place knows neither lease nor key.
	member.Stop(t)
	if err := os.RemoveAll(filepath.Join(member.DataDir, "member")); err != nil {
		t.Fatal(err)
	}
	if err := member.Restart(t); err != nil {
		t.Fatal(err)
	}
	f.winner()
	if second.ctx.Err() == nil {
		t.Error("the leader of the lost etcd leads on")
	}
}
