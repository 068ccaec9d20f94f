package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// ReplicaSet is a MongoDB replica set. It elects another primary about 2 s after it has lost one.
type ReplicaSet struct {
	URL     string
	Members []*Mongod
}

// StartReplicaSet starts a replica set of n members below dir, each with args. After an error, stop what is returned.
func StartReplicaSet(program, dir string, n int, args ...string) (*ReplicaSet, error) {
	set := &ReplicaSet{Members: make([]*Mongod, n)}
	errs := make([]error, n)
	var starting sync.WaitGroup
	for i := range n {
		starting.Go(func() {
			set.Members[i], errs[i] = StartMongod(program, filepath.Join(dir, strconv.Itoa(i)), append([]string{"--replSet", "rs0"}, args...)...)
		})
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return set, err
	}
	var members bson.A
	var addrs []string
	for i, m := range set.Members {
		members = append(members, bson.D{{Key: "_id", Value: i}, {Key: "host", Value: m.Addr}})
		addrs = append(addrs, m.Addr)
	}
	set.URL = "mongodb://" + strings.Join(addrs, ",") + "/?replicaSet=rs0"
	err := set.Members[0].withClient(func(ctx context.Context, client *mongo.Client) error {
		return client.Database("admin").RunCommand(ctx, bson.D{{Key: "replSetInitiate", Value: bson.D{
			{Key: "_id", Value: "rs0"}, {Key: "members", Value: members},
			{Key: "settings", Value: bson.D{{Key: "electionTimeoutMillis", Value: 2000}, {Key: "heartbeatIntervalMillis", Value: 500}}},
		}}}).Err()
	})
	if err != nil {
		return set, fmt.Errorf("initiate the replica set: %w", err)
	}
	if _, err := set.Primary(); err != nil {
		return set, err
	}
	return set, nil
}

// Primary waits until the set has a primary and returns its index.
func (s *ReplicaSet) Primary() (int, error) {
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		for i, m := range s.Members {
			select {
			case <-m.Done():
				continue
			default:
			}
			var hello struct {
				Primary bool `bson:"isWritablePrimary"`
			}
			err := m.withClient(func(ctx context.Context, client *mongo.Client) error {
				return client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
			})
			if err == nil && hello.Primary {
				return i, nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 0, fmt.Errorf("the replica set has no primary after %s", startTimeout)
}

// SetReplication stops or continues the copying of the primary's writes to a secondary. The set must have been started
// with --setParameter enableTestCommands=1.
func (s *ReplicaSet) SetReplication(i int, on bool) error {
	mode := "alwaysOn"
	if on {
		mode = "off"
	}
	return s.Members[i].withClient(func(ctx context.Context, client *mongo.Client) error {
		return client.Database("admin").RunCommand(ctx, bson.D{{Key: "configureFailPoint", Value: "stopReplProducer"}, {Key: "mode", Value: mode}}).Err()
	})
}

// Stop kills all members.
func (s *ReplicaSet) Stop() {
	for _, m := range s.Members {
		if m != nil && m.Process != nil {
			m.Kill()
		}
	}
}
