//go:build failpoints

package etcd

import (
	"context"
	"net"

	"google.golang.org/grpc"

	"github.com/replicante-io/playbooks/internal/failpoint"
)

func init() {
	dial := failpoint.Dial(failpoint.Etcd, new(net.Dialer).DialContext)
	failpoint.Replace(failpoint.EtcdOptions, func(options []grpc.DialOption) []grpc.DialOption {
		return append(options, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dial(ctx, "tcp", address)
		}))
	})
}
