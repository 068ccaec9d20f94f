package replica

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/etcd"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/mongo"
	"github.com/replicante-io/playbooks/store/sqlite"
)

// OpenStore opens the primary store of a configuration. The store need not be reachable yet. options say what the configuration
// does not.
func OpenStore(c config.Core, options store.Config, log hclog.Logger) (store.Store, error) {
	settings := options
	settings.URL, settings.Database, settings.FinishedTTL = c.Store.URL, c.Store.Database, c.Runs.FinishedTTL
	scheme, _, _ := strings.Cut(c.Store.URL, "://")
	switch scheme {
	case "mongodb", "mongodb+srv":
		return mongo.Open(mongo.Config{Config: settings, Log: log.Named("store")})
	case "sqlite":
		return sqlite.Open(context.Background(), sqlite.Config{Config: settings, Log: log.Named("store")})
	}
	return nil, fmt.Errorf("%w: store.url begins with %q: write mongodb://… or sqlite:///…", store.ErrUnusable, scheme)
}

// Connect returns a client of the etcd of a configuration. onError, if it is not nil, is called for every call that fails.
func Connect(c config.Etcd, onError func(method, code string)) (*clientv3.Client, error) {
	password, err := c.Password()
	if err != nil {
		return nil, err
	}
	return etcd.Dial(etcd.DialConfig{Endpoints: c.Endpoints, Username: c.Username, Password: password, OnError: onError})
}
