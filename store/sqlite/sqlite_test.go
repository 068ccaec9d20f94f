package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/sqlite"
	"github.com/replicante-io/playbooks/store/storetest"
)

// inFile is a database in a file of its own.
func inFile(tb testing.TB) storetest.Database {
	path := filepath.Join(tb.TempDir(), "core.db")
	return storetest.Database{
		Open: func(config store.Config) (store.Store, error) {
			config.URL = "sqlite://" + path
			return sqlite.Open(tb.Context(), sqlite.Config{Config: config, ExpireInterval: 50 * time.Millisecond})
		},
		SetSchema: func(version int) error {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				return err
			}
			defer db.Close()
			_, err = db.Exec("UPDATE terms_data SET doc = json_set(doc, '$.schema', ?)", version)
			return err
		},
	}
}

func TestSQLitePassesTheSuite(t *testing.T) { storetest.Run(t, inFile) }

func BenchmarkCreate10000(b *testing.B) { storetest.BenchmarkCreate10000(b, inFile) }
func BenchmarkCommit1024(b *testing.B)  { storetest.BenchmarkCommit1024(b, inFile) }
func BenchmarkCommit1(b *testing.B)     { storetest.BenchmarkCommit1(b, inFile) }
func BenchmarkClaim10000(b *testing.B)  { storetest.BenchmarkClaim10000(b, inFile) }
