//go:build failpoints

package mongo

import (
	"context"
	"net"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/internal/failpoint"
)

func init() {
	dial := failpoint.Dial(failpoint.Store, (&net.Dialer{Timeout: selectionTimeout}).DialContext)
	failpoint.Replace(failpoint.StoreOptions, func(opts *options.ClientOptions) *options.ClientOptions {
		return opts.SetDialer(dialer(dial))
	})
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// DialContext implements options.ContextDialer.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}
