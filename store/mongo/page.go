package mongo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/replicante-io/playbooks/store"
)

// position is what a cursor holds: the list that it belongs to, and the last item of the page before.
type position struct {
	List string `json:"l"`
	Time int64  `json:"t,omitempty"` // milliseconds, or another number
	Key  string `json:"k,omitempty"`
	More string `json:"m,omitempty"`
}

// parseCursor reads a cursor of list; ok is false for the first page.
func parseCursor(list, cursor string) (after position, ok bool, err error) {
	if cursor == "" {
		return position{}, false, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(text, &after)
	}
	if err != nil || after.List != list {
		return position{}, false, fmt.Errorf("%w: %q is not a cursor of this list", store.ErrConflict, cursor)
	}
	return after, true, nil
}

func (p position) cursor() string {
	text, _ := json.Marshal(p) // strings and numbers
	return base64.RawURLEncoding.EncodeToString(text)
}

// readPage reads limit items, and returns the cursor of the next page if there are more.
func readPage[T any](ctx context.Context, collection *mongo.Collection, filter bson.D, find *options.FindOptionsBuilder, limit int, positionOf func(*T) position) ([]T, string, error) {
	if limit > 0 {
		find = find.SetLimit(int64(limit) + 1)
	}
	cursor, err := collection.Find(ctx, filter, find)
	if err != nil {
		return nil, "", translate(err)
	}
	var items []T
	if err := cursor.All(ctx, &items); err != nil {
		return nil, "", translate(err)
	}
	items, next := trim(items, limit, positionOf)
	return items, next, nil
}

// trim removes what is beyond the page.
func trim[T any](items []T, limit int, positionOf func(*T) position) ([]T, string) {
	if limit <= 0 || len(items) <= limit {
		return items, ""
	}
	items = items[:limit]
	return items, positionOf(&items[limit-1]).cursor()
}
