// Package storetest tests what every store.Store promises (Run), measures it (BenchmarkCreate10000 and others), and has a
// store in memory (Memory) that passes the same tests, for tests of what uses a store.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/replicante-io/playbooks/store"
)

// Backend creates databases of one kind for the suite.
type Backend func(tb testing.TB) Database

// Database is where one store keeps its data. It is empty at first.
type Database struct {
	// Open opens a store on the database, whatever the config's URL and Database. After Close it may be opened again, with the
	// same data.
	Open func(config store.Config) (store.Store, error)
	// Shared means that several stores may be open at once, as those of several replicas are.
	Shared bool
	// SetSchema changes the recorded version of the schema.
	SetSchema func(version int) error
}

var tests = []struct {
	name string // what every store promises
	run  func(t *testing.T, backend Backend)
}{
	{"init may be repeated and keeps the installation", initMayBeRepeated},
	{"how long finished runs are kept changes only when that is asked for", finishedTTLStays},
	{"each store is another installation", eachStoreIsAnotherInstallation},
	{"before init there is no term and check reports it", beforeInitThereIsNoTerm},
	{"a newer schema is refused", newerSchemaIsRefused},
	{"data survives closing and opening again", dataSurvivesReopening},
	{"terms grow strictly and respect the floor", termsGrow},
	{"a floor far above the latest term begins none", termsAreBounded},
	{"terms begun concurrently all differ", concurrentTermsDiffer},

	{"a call in a context that has ended is unavailable", endedContextIsUnavailable},

	{"every field of every record survives a round trip", everyFieldSurvives},
	{"random values of every field survive a round trip", randomValuesSurvive},
	{"fields that became empty are absent again", emptyFieldsAreAbsent},
	{"stored records share no memory with the caller's", nothingIsShared},

	{"a created run is visible at once with all its nodes", createIsVisibleAtOnce},
	{"creating under a stale term is refused", staleCreateIsRefused},
	{"creating a run again is refused", repeatedCreateIsRefused},

	{"a claim increments the revision and refuses earlier terms", claimRefusesEarlierTerms},
	{"a claim may be repeated in its term", claimMayBeRepeated},
	{"a claim returns the run with its nodes by name", claimReturnsNodesByName},
	{"what an unclaimed run waits for is recorded, and nothing else changes", waitingIsSet},
	{"records that do not exist are not found", missingRunsAreNotFound},

	{"a commit is applied once when it is repeated", commitIsAppliedOnce},
	{"a commit that was applied is recognised after a claim", commitIsRecognisedAfterClaim},
	{"a commit decided on another revision or predecessor conflicts", misplacedCommitConflicts},
	{"a commit of a term that has not claimed the run conflicts", unclaimedCommitConflicts},
	{"a fence commit is refused once a later term has begun", fenceCommitIsRefused},
	{"a fence commit or create that a new leader does not see is refused", newLeaderSeesOrRefuses},
	{"one of concurrent commits on one revision is applied", oneOfConcurrentCommitsIsApplied},
	{"a commit is applied with all its parts or none", commitIsAllOrNothing},
	{"a commit inserts new node records and replaces changed ones", commitReplacesNodes},
	{"a commit does not change the immutable parts of a run", immutablePartsStay},
	{"a commit of 1,024 nodes and events is applied", largeCommitIsApplied},

	{"a stamp covers every record and may be repeated", stampCoversEveryRecord},
	{"an unfinished run cannot be stamped", unfinishedRunIsNotStamped},
	{"an interrupted stamp is resumed by a later term", interruptedStampIsResumed},
	{"a stamp of an earlier term than the run's is refused", staleStampIsRefused},
	{"a commit after the stamp opens the run until it is stamped again", commitRemovesStamp},
	{"a commit during a stamp is stamped or leaves the run unstamped", commitDuringStamp},
	{"reopening a run removes its stamps", reopeningRemovesStamps},
	{"runs stay open until they are stamped and settled", openRuns},
	{"open runs are listed as they are queued, and the newest runs by creation", runsAreOrdered},

	{"an idempotency key is found with its digest only", keyIsFound},
	{"a key that is recorded already refuses a write", usedKeyRefusesWrite},
	{"a write that fails records no key", failedWriteRecordsNoKey},

	{"applying numbers revisions without gaps and skips equal ones", applyNumbersRevisions},
	{"applying concurrently makes no gaps", concurrentApplyMakesNoGaps},
	{"applying is all or none and records its answer", applyIsAllOrNone},
	{"every field of a playbook survives a round trip", playbookSurvives},
	{"schedules and freezes are applied with playbooks, and keep what became of due times", schedulesAreApplied},
	{"schedules and freezes of a stale term are refused", schedulesAreFenced},
	{"every field of a schedule and a freeze survives a round trip", schedulesSurvive},
	{"schedules and freezes are paged", schedulesArePaged},

	{"runs are paged and filtered, newest first", runsArePaged},
	{"node records are paged and filtered by name", runNodesArePaged},
	{"playbooks and revisions are paged", playbooksArePaged},
	{"pages neither repeat nor skip items while the list changes", pagesAreStable},
	{"a cursor of another list is refused", badCursorIsRefused},
	{"events are read after a number and up to a limit", eventsAreRead},

	{"following delivers each event once and in order", followDeliversInOrder},
	{"following ends with its context and with deliver's error", followEnds},
	{"a replica follows what another one writes", replicaFollows},

	{"nodes are saved, replaced and forgotten", nodesAreSaved},
	{"nodes are paged and counted by cluster", nodesArePaged},
	{"nodes of a stale term are refused", staleNodesAreRefused},

	{"only a stamped run expires, with all its records", stampedRunExpires},
	{"random writes match the model", randomWritesMatchTheModel},
}

// Run tests the stores of backend.
func Run(t *testing.T, backend Backend) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, backend)
		})
	}
}

// neverExpires is a TTL that no test outlives.
const neverExpires = 24 * time.Hour

// open opens a store that is set up on a new database, and maintains it until the test ends.
func open(tb testing.TB, backend Backend) store.Store {
	tb.Helper()
	return openDatabase(tb, backend(tb), neverExpires)
}

func openDatabase(tb testing.TB, database Database, ttl time.Duration) store.Store {
	tb.Helper()
	s, err := database.Open(store.Config{FinishedTTL: ttl})
	must(tb, err)
	must(tb, s.Init(tb.Context()))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Maintain(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			tb.Errorf("maintain: %v", err)
		}
		if err := s.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return s
}

// beginTerm begins a term.
func beginTerm(tb testing.TB, s store.Store) int64 {
	tb.Helper()
	term, err := s.BeginTerm(tb.Context(), 0)
	must(tb, err)
	return term.Term
}

// tester is what helpers need of a test: testing.TB and *rapid.T have it.
type tester interface {
	Context() context.Context
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Helper()
}

func must(tb tester, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// same compares records: an empty list or object is equal to one that is absent.
func same(tb tester, what string, got, want any) {
	tb.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		tb.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// allPages follows the cursors of a list to its end.
func allPages[T any](tb testing.TB, limit int, list func(page store.Page) ([]T, string, error)) []T {
	tb.Helper()
	var items []T
	page := store.Page{Limit: limit}
	for {
		part, next, err := list(page)
		must(tb, err)
		if limit > 0 && len(part) > limit {
			tb.Fatalf("a page of %d has %d items", limit, len(part))
		}
		items = append(items, part...)
		if next == "" {
			return items
		}
		if len(part) == 0 || next == page.Cursor {
			tb.Fatal("a page is empty or has the same cursor as the one before")
		}
		page.Cursor = next
	}
}

// namesOf maps items to what identifies them.
func namesOf[T any](items []T, name func(T) string) []string {
	var found []string
	for _, item := range items {
		found = append(found, name(item))
	}
	return found
}
