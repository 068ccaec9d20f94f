//go:build integration

// Package mongodb_test follows the example as a user would, while clients write and the control plane is killed.
package mongodb_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/replicante-io/playbooks/internal/testenv"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/tests/example"
)

func TestARollingRestartLosesNoWriteAndRestartsThePrimaryLast(t *testing.T) {
	t.Setenv("MONGOD", testenv.Mongod(t))
	testenv.Program(t, "mongo", "mongosh")
	ports := example.Ports(t, 3)
	x := example.New(t, "mongodb", 3, "PORTS="+ports)
	var hosts []string
	for _, port := range strings.Fields(ports) {
		hosts = append(hosts, "127.0.0.1:"+port)
	}
	set := connect(t, "mongodb://"+strings.Join(hosts, ",")+"/?replicaSet=rs0")
	written := set.Database("example").Collection("written", options.Collection().SetWriteConcern(writeconcern.Majority()))
	writer := example.StartWriter(t, func(ctx context.Context, value int) error {
		_, err := written.InsertOne(ctx, bson.M{"_id": value})
		return err
	})

	x.Start("rolling-restart.yaml", "mongodb-rolling-restart", nil)
	x.KillInAction("restart")
	x.Done(2)
	acknowledged := writer.Stop(t)
	var last, stepped string
	var latest record.Action
	for _, n := range x.Nodes() {
		for _, a := range n.Actions {
			if a.Step == "step_down" {
				stepped = n.Node
			}
			if a.StartTS.After(latest.StartTS) {
				latest, last = a, n.Node
			}
		}
	}
	if stepped == "" || last != stepped {
		t.Errorf("%q stepped down, and the last restart was that of %s", stepped, last)
	}
	for _, host := range hosts {
		x.Await(host+" to have all acknowledged values", func() error { return lacks(t, host, acknowledged) })
	}
}

func connect(t *testing.T, uri string) *mongo.Client {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client
}

// lacks names a value that a member does not have.
func lacks(t *testing.T, host string, values []int) error {
	member := connect(t, "mongodb://"+host+"/?directConnection=true")
	all := member.Database("example").Collection("written", options.Collection().SetReadPreference(readpref.Nearest()))
	cursor, err := all.Find(t.Context(), bson.M{})
	if err != nil {
		return err
	}
	var found []struct {
		ID int `bson:"_id"`
	}
	if err := cursor.All(t.Context(), &found); err != nil {
		return err
	}
	there := map[int]bool{}
	for _, document := range found {
		there[document.ID] = true
	}
	for _, value := range values {
		if !there[value] {
			return fmt.Errorf("it lacks %d", value)
		}
	}
	return nil
}
