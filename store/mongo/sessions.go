package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// maxTransactions is how many transactions a store runs at a time.
const maxTransactions = 32

// sessionID is the id of a server session (a UUID).
type sessionID = bson.Binary

// sessions are those that transactions run on. Their ids are known before the server knows them.
type sessions struct {
	ids  []sessionID
	free chan *mongo.Session
}

func newSessions(client *mongo.Client) (*sessions, error) {
	s := &sessions{free: make(chan *mongo.Session, maxTransactions)}
	for range maxTransactions {
		session, err := client.StartSession(options.Session().SetCausalConsistency(false))
		if err != nil {
			return nil, fmt.Errorf("start a session: %w", err)
		}
		subtype, id, ok := session.ID().Lookup("id").BinaryOK()
		if !ok {
			return nil, fmt.Errorf("start a session: its id is %s", session.ID())
		}
		s.ids = append(s.ids, sessionID{Subtype: subtype, Data: id})
		s.free <- session
	}
	return s, nil
}

// end ends the sessions, and with them what they have open. None may be in use.
func (s *sessions) end(ctx context.Context) {
	for range maxTransactions {
		(<-s.free).EndSession(ctx)
	}
}

// killSessions ends server sessions and what they have open. A user may always kill sessions that the same user began.
func (s *Store) killSessions(ctx context.Context, ids []sessionID) error {
	if len(ids) == 0 {
		return nil
	}
	list := make(bson.A, len(ids))
	for i, id := range ids {
		list[i] = bson.D{{Key: "id", Value: id}}
	}
	err := s.client.Database("admin").RunCommand(ctx, bson.D{{Key: "killSessions", Value: list}}).Err()
	if err != nil {
		return fmt.Errorf("kill the sessions of an earlier leader: %w", translate(err))
	}
	return nil
}
