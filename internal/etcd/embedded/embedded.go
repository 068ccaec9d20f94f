// Package embedded runs an etcd of one member inside this process: for trials, not for data that must survive.
package embedded

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

// startTimeout is how long the embedded etcd may take to start, on a busy machine.
const startTimeout = 60 * time.Second

// Etcd is a running etcd. Close ends it; Err reports when it ended by itself.
type Etcd struct {
	*embed.Etcd
	Endpoint string // URL for clients
}

// Start starts an etcd of one member, empty, in dir, that serves on listen. It does not flush to disk: the next start
// clears it.
func Start(ctx context.Context, dir, listen string) (*Etcd, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("clear the embedded etcd: %w", err)
	}
	local, peers := []url.URL{{Scheme: "http", Host: listen}}, []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c := embed.NewConfig()
	c.Name, c.Dir = "dev", dir
	c.ListenClientUrls, c.AdvertiseClientUrls = local, local
	c.ListenPeerUrls, c.AdvertisePeerUrls = peers, peers
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	// The gateway of HTTP answers web pages of every origin, and under every name: no client of ours uses it.
	c.EnableGRPCGateway = false
	c.HostWhitelist = map[string]struct{}{"127.0.0.1": {}, "localhost": {}, "::1": {}}
	c.CORS = map[string]struct{}{"http://127.0.0.1": {}}
	c.UnsafeNoFsync = true
	c.TickMs, c.ElectionMs = 20, 200 // nobody else votes
	c.AutoCompactionMode, c.AutoCompactionRetention = "revision", "10000"
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	server, err := embed.StartEtcd(c)
	if err != nil {
		return nil, fmt.Errorf("start the embedded etcd: %w", err)
	}
	late := time.NewTimer(startTimeout)
	defer late.Stop()
	select {
	case <-server.Server.ReadyNotify():
		return &Etcd{Etcd: server, Endpoint: "http://" + server.Clients[0].Addr().String()}, nil
	case err = <-server.Err():
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-late.C:
		err = errors.New("it is not ready after " + startTimeout.String())
	}
	server.Close()
	return nil, fmt.Errorf("start the embedded etcd: %w", err)
}
