package dev

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// etcdPatience is how long the embedded etcd may take to start, on a busy machine.
const etcdPatience = 60 * time.Second

type embedded struct {
	*embed.Etcd
	endpoint string
}

// startEtcd starts an etcd of one member, empty, on ports of this machine that nobody uses. Nothing in it is worth a
// disk's flush: it is made anew at the next start.
func startEtcd(ctx context.Context, dir string) (*embedded, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("clear the embedded etcd: %w", err)
	}
	local := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c := embed.NewConfig()
	c.Name, c.Dir = "dev", dir
	c.ListenClientUrls, c.AdvertiseClientUrls = local, local
	c.ListenPeerUrls, c.AdvertisePeerUrls = local, local
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.UnsafeNoFsync = true
	c.TickMs, c.ElectionMs = 20, 200 // nobody else votes
	c.AutoCompactionMode, c.AutoCompactionRetention = "revision", "10000"
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	server, err := embed.StartEtcd(c)
	if err != nil {
		return nil, fmt.Errorf("start the embedded etcd: %w", err)
	}
	patience := time.NewTimer(etcdPatience)
	defer patience.Stop()
	select {
	case <-server.Server.ReadyNotify():
		return &embedded{Etcd: server, endpoint: "http://" + server.Clients[0].Addr().String()}, nil
	case err = <-server.Err():
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-patience.C:
		err = errors.New("it is not ready after " + etcdPatience.String())
	}
	server.Close()
	return nil, fmt.Errorf("start the embedded etcd: %w", err)
}
