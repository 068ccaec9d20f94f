//go:build integration

package replica_test

import (
	"testing"

	"github.com/replicante-io/playbooks/internal/config"
	"github.com/replicante-io/playbooks/internal/etcd/etcdtest"
	"github.com/replicante-io/playbooks/internal/testenv"
)

func TestWhatCannotBeStoredInMongoDBIsRefusedWhereItEnters(t *testing.T) {
	set := testenv.MongoSet(t, 1) // before etcd's framework leaves the source tree
	cluster := etcdtest.Start(t, 1)
	etcd, _ := etcdtest.Dial(t, cluster)
	i := &installation{t: t, cluster: cluster, etcd: etcd, prefix: "/entry"}
	c := i.config("core-1", set.URL)
	c.Store = config.Store{URL: set.URL, Database: "entry"}
	whatEnters(t, i, i.start(c, nil))
}
