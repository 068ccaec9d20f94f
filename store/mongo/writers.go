package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// width is how many transactions a store runs at a time.
const width = 32

// lsid is the id of a server session (a UUID).
type lsid = bson.Binary

// writers are the sessions that transactions run on. Their ids are known before the server is.
type writers struct {
	ids  []lsid
	free chan *mongo.Session
}

func newWriters(client *mongo.Client) (*writers, error) {
	w := &writers{free: make(chan *mongo.Session, width)}
	for range width {
		session, err := client.StartSession(options.Session().SetCausalConsistency(false))
		if err != nil {
			return nil, fmt.Errorf("start a session: %w", err)
		}
		subtype, id, ok := session.ID().Lookup("id").BinaryOK()
		if !ok {
			return nil, fmt.Errorf("start a session: its id is %s", session.ID())
		}
		w.ids = append(w.ids, lsid{Subtype: subtype, Data: id})
		w.free <- session
	}
	return w, nil
}

// end ends the sessions, and with them what they have open. None may be in use.
func (w *writers) end(ctx context.Context) {
	for range width {
		(<-w.free).EndSession(ctx)
	}
}

// kill ends server sessions and what they have open. A user may always do this to sessions that the same user began.
func (s *Store) kill(ctx context.Context, ids []lsid) error {
	if len(ids) == 0 {
		return nil
	}
	list := make(bson.A, len(ids))
	for i, id := range ids {
		list[i] = bson.D{{Key: "id", Value: id}}
	}
	err := s.client.Database("admin").RunCommand(ctx, bson.D{{Key: "killSessions", Value: list}}).Err()
	if err != nil {
		return fmt.Errorf("kill the sessions of an earlier leader: %w", explain(err))
	}
	return nil
}
