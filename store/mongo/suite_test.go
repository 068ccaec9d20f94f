package mongo_test

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/mongo"
	"github.com/replicante-io/playbooks/store/storetest"
)

func backend(tb testing.TB) storetest.Database {
	a := newDatabase(tb)
	return storetest.Database{
		Shared: true,
		Open:   func(config store.Config) (store.Store, error) { return mongo.Open(a.configured(config)) },
		SetSchema: func(version int) error {
			_, err := a.raw(tb).Collection("terms").UpdateOne(tb.Context(), bson.D{{Key: "_id", Value: "terms"}}, bson.D{{Key: "$set", Value: bson.D{{Key: "schema", Value: version}}}})
			return err
		},
	}
}

func TestMongoPassesTheSuite(t *testing.T) { storetest.Run(t, backend) }
