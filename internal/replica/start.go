package replica

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/replicante-io/playbooks/election"
	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/failpoint"
	"github.com/replicante-io/playbooks/internal/yamltree"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// start opens the port, the store and the client of etcd. After an error they are closed again.
func (r *Replica) start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.listener, err = net.Listen("tcp", r.config.API.Listen); err != nil {
		return fmt.Errorf("listen on api.listen: %w", err)
	}
	if r.config.Listening != nil {
		r.config.Listening(r.listener.Addr())
	}
	r.url = advertisedURL(r.config.API, r.listener)
	opened, err := r.open()
	if err != nil {
		return err
	}
	r.store = r.observed(failpoint.Wrap(failpoint.StoreCalls, opened))
	if err := r.checkStoreUsable(ctx); err != nil {
		return err
	}
	r.etcd, err = Connect(r.config.Etcd, func(method, code string) { r.metrics.etcdErrors.WithLabelValues(method, code).Inc() })
	if err != nil {
		return err
	}
	r.candidate = election.New(election.Config{
		Client: r.etcd, Prefix: r.config.Etcd.Prefix, Name: r.config.Name, Advertise: r.url, Instance: r.instance,
		TTL: r.config.Etcd.LeaseTTL, Log: r.config.Log,
	})
	return nil
}

// close closes what start opened.
func (r *Replica) close() error {
	if r.etcd != nil {
		_ = r.etcd.Close()
	}
	var err error
	if r.store != nil {
		err = r.store.Close()
	}
	if r.listener != nil {
		_ = r.listener.Close()
	}
	return err
}

// checkStoreUsable fails for a store that waiting does not help: another process has the file, a login is wrong, it is another's.
func (r *Replica) checkStoreUsable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	term, err := r.store.Term(ctx)
	if errors.Is(err, store.ErrUnusable) {
		return fmt.Errorf("use the primary store %s: %w", r.config.Store, err)
	}
	if err != nil {
		return nil
	}
	r.reportTTL(term)
	return r.accept(term)
}

// reportTTL logs once that finished runs are kept for another time than this replica's configuration says: the store's counts.
func (r *Replica) reportTTL(term record.Term) {
	kept, configured := term.FinishedTTL(), r.config.Runs.FinishedTTL
	if kept == 0 || kept == configured || r.reportedTTL.Swap(int64(kept)) == int64(kept) {
		return
	}
	r.log.Warn("runs.finished_ttl of this replica differs from the installation's, which is in the store and counts; "+
		"to change it there, run: replicore store init --set-finished-ttl", "installation", yamltree.FormatDuration(kept),
		"configured", yamltree.FormatDuration(configured))
}

// advertisedURL is where others reach the replica. Where any port will do, it has the one that the replica got.
func advertisedURL(c config.API, listener net.Listener) string {
	if c.Advertise == "" || c.Advertise == "http://"+c.Listen {
		return "http://" + listener.Addr().String()
	}
	return strings.TrimRight(c.Advertise, "/")
}
