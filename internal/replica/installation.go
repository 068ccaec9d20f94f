package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// ErrOtherInstallation means that, by what etcd has stored, etcd and the store belong to different installations. Their
// terms cannot be compared: nobody may lead.
var ErrOtherInstallation = errors.New("etcd and the primary store do not belong together")

// etcdTimeout bounds one call of etcd.
const etcdTimeout = 5 * time.Second

func installationKey(prefix string) string { return prefix + "/installation" }

// boundInstallation is the id of the store that etcd was bound to, or "".
func boundInstallation(ctx context.Context, client *clientv3.Client, prefix string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	answer, err := client.Get(ctx, installationKey(prefix))
	if err != nil {
		return "", fmt.Errorf("read %s in etcd: %w", installationKey(prefix), err)
	}
	if len(answer.Kvs) == 0 {
		return "", nil
	}
	return string(answer.Kvs[0].Value), nil
}

// bindInstallation makes sure that etcd is bound to the store with this terms record. An etcd that is bound to none is
// bound if bind is true, or if the store has never been led.
func bindInstallation(ctx context.Context, client *clientv3.Client, prefix string, term record.Term, bind bool) error {
	bound, err := boundInstallation(ctx, client, prefix)
	if err != nil {
		return err
	}
	if bound == "" {
		if term.Term > 0 && !bind {
			return fmt.Errorf("%w: etcd knows of no store under %s, but the store has been led before (term %d). "+
				"If this etcd is new or was restored, and is the right one for the store, run: replicore store adopt-etcd",
				ErrOtherInstallation, prefix, term.Term)
		}
		key := installationKey(prefix)
		ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
		defer cancel()
		_, err := client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, term.Installation)).
			Commit()
		if err != nil {
			return fmt.Errorf("put %s in etcd: %w", key, err)
		}
		if bound, err = boundInstallation(ctx, client, prefix); err != nil { // another replica may have been faster
			return err
		}
	}
	if bound != term.Installation {
		return otherInstallation(prefix, bound, term.Installation)
	}
	return nil
}

func otherInstallation(prefix, bound, id string) error {
	return fmt.Errorf("%w: under %s etcd belongs to the store %s, but this store is %s. Check etcd.prefix, etcd.endpoints and "+
		"store.url; if the store was replaced on purpose, stop all replicas and run: replicore store adopt-etcd",
		ErrOtherInstallation, prefix, bound, cmp.Or(id, "new and has no id yet"))
}

// checkInstallation fails if etcd cannot be read, or is bound to another store than this replica's; that is logged once. What is wrong
// with the store itself is no failure here.
func (r *Replica) checkInstallation(ctx context.Context) error {
	bound, err := boundInstallation(ctx, r.etcd, r.config.Etcd.Prefix)
	if err != nil || bound == "" {
		return err
	}
	if known := r.installation.Load(); known != nil && *known == bound {
		r.elsewhere.Store(false)
		return nil
	}
	term, err := r.store.Term(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) { // a store that was never prepared has no id
		return nil
	}
	r.installation.Store(&term.Installation)
	if term.Installation == bound {
		r.elsewhere.Store(false)
		return nil
	}
	err = otherInstallation(r.config.Etcd.Prefix, bound, term.Installation)
	if !r.elsewhere.Swap(true) {
		r.log.Error("this replica does not belong to its installation: it cannot lead, and reads from it are those of another store", "error", err)
	}
	return err
}

// AdoptEtcd binds etcd to the store with this terms record, whatever it was bound to. It returns what that was.
func AdoptEtcd(ctx context.Context, client *clientv3.Client, prefix string, term record.Term) (before string, err error) {
	before, err = boundInstallation(ctx, client, prefix)
	if err != nil || before == term.Installation {
		return before, err
	}
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	if _, err := client.Put(ctx, installationKey(prefix), term.Installation); err != nil {
		return before, fmt.Errorf("put %s in etcd: %w", installationKey(prefix), err)
	}
	return before, nil
}
