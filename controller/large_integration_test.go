//go:build integration

package controller_test

import (
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/mongo"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// TestMongoDBTakesNodesWithLargeArguments: in one transaction, they are more than the server takes in time.
func TestMongoDBTakesNodesWithLargeArguments(t *testing.T) {
	s, err := mongo.Open(mongo.Config{Config: store.Config{URL: testenv.Mongo(t), Database: "test_" + uuid.NewString()[:8], FinishedTTL: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	largeArguments(t, s, 200)
}
