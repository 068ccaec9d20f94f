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

// position is what a page's cursor holds: the list that it belongs to, and the last item of the page before.
type position struct {
	List string `json:"l"`
	Time int64  `json:"t,omitempty"` // milliseconds, or another number
	Key  string `json:"k,omitempty"`
	More string `json:"m,omitempty"`
}

// from reads a cursor of list; ok is false at the beginning.
func from(list, cursor string) (at position, ok bool, err error) {
	if cursor == "" {
		return position{}, false, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(text, &at)
	}
	if err != nil || at.List != list {
		return position{}, false, fmt.Errorf("%w: %q is not a cursor of this list", store.ErrConflict, cursor)
	}
	return at, true, nil
}

func (p position) cursor() string {
	text, _ := json.Marshal(p) // strings and numbers
	return base64.RawURLEncoding.EncodeToString(text)
}

// part reads one page: limit items, and the cursor of the next page if there are more.
func part[T any](ctx context.Context, collection *mongo.Collection, filter bson.D, find *options.FindOptionsBuilder, limit int, at func(*T) position) ([]T, string, error) {
	if limit > 0 {
		find = find.SetLimit(int64(limit) + 1)
	}
	cursor, err := collection.Find(ctx, filter, find)
	if err != nil {
		return nil, "", explain(err)
	}
	var items []T
	if err := cursor.All(ctx, &items); err != nil {
		return nil, "", explain(err)
	}
	items, next := cut(items, limit, at)
	return items, next, nil
}

func cut[T any](items []T, limit int, at func(*T) position) ([]T, string) {
	if limit <= 0 || len(items) <= limit {
		return items, ""
	}
	items = items[:limit]
	return items, at(&items[limit-1]).cursor()
}
