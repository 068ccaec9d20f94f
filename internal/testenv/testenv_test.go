package testenv_test

import (
	"context"
	"os"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func TestTheSharedReplicaSetHasTransactions(t *testing.T) {
	url := testenv.Mongo(t)
	if again := testenv.Mongo(t); again != url {
		t.Fatalf("the second call gave %s, the first %s", again, url)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(url))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(ctx) }()
	err = client.UseSession(ctx, func(ctx context.Context) error {
		_, err := mongo.SessionFromContext(ctx).WithTransaction(ctx, func(ctx context.Context) (any, error) {
			return client.Database("testenv").Collection("things").InsertOne(ctx, bson.D{{Key: "_id", Value: 1}})
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAFreePortIsReturnedOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 100 {
		port := testenv.FreePort(t)
		if seen[port] {
			t.Fatalf("port %d was returned twice", port)
		}
		seen[port] = true
		if port >= 32768 {
			t.Fatalf("port %d can be taken by an outgoing connection while its server restarts", port)
		}
	}
}
