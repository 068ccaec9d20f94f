package etcd

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/replicante-io/playbooks/internal/failpoint"
)

// DialConfig says how to reach etcd.
type DialConfig struct {
	Endpoints []string // all http or all https
	Username  string   // "" for none
	Password  string
	// OnError is called for every call that etcd did not carry out, with the method's name and gRPC's code. It may be nil.
	OnError func(method, code string)
}

// Dial returns a client. It does not wait for etcd, except to log in with a user name. A member that hangs is noticed
// within seconds; one that has recovered is tried again within two.
func Dial(c DialConfig) (*clientv3.Client, error) {
	config := clientv3.Config{
		Endpoints:            c.Endpoints,
		Username:             c.Username,
		Password:             c.Password,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    3 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               zap.NewNop(), // what matters is returned as an error
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			// The library's default grows to two minutes.
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 2 * time.Second,
		})},
	}
	if c.OnError != nil {
		config.DialOptions = append(config.DialOptions, reportErrors(c.OnError)...)
	}
	if len(c.Endpoints) > 0 && strings.HasPrefix(c.Endpoints[0], "https://") {
		config.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.DialOptions = failpoint.Wrap(failpoint.EtcdOptions, config.DialOptions)
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %s: %w", strings.Join(c.Endpoints, ", "), err)
	}
	return client, nil
}
