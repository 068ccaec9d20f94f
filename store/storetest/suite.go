// Package storetest says by tests what every store.Store promises (Run), measures it (BenchmarkCreate10000 and its
// like), and has a store in memory (Memory) that keeps the same promises, for tests of what uses a store.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/replicante-io/playbooks/store"
)

// Backend makes places for data: it is what a kind of store brings to the suite.
type Backend func(tb testing.TB) Place

// Place is where the data of one store lives, at first none.
type Place struct {
	// Open opens what is there. After Close it is opened again with the same data.
	Open func(ttl time.Duration) (store.Store, error)
	// Shared tells whether several stores may be open at once, as several replicas would.
	Shared bool
	// SetSchema changes the schema version that is recorded.
	SetSchema func(version int) error
}

// tests are the promises, each with what breaks if it is not kept.
var tests = []struct {
	name string
	run  func(t *testing.T, backend Backend)
}{
	{"init may be repeated and keeps the installation", initMayBeRepeated},
	{"each store is another installation", eachStoreIsAnotherInstallation},
	{"before init there is no term and check says what to do", beforeInitThereIsNoTerm},
	{"a newer schema is refused", newerSchemaIsRefused},
	{"what was written is there after opening again", dataSurvivesReopening},
	{"terms grow strictly and respect the floor", termsGrow},
	{"concurrent leads all get different terms", concurrentLeadsDiffer},

	{"what is asked in a context that has ended is in doubt", endedContextIsInDoubt},

	{"every field of a run comes back", everyFieldComesBack},
	{"fields that became empty are absent again", emptyFieldsAreAbsent},
	{"what is given and what is returned is not shared", nothingIsShared},

	{"a created run is visible at once with all its nodes", createIsVisibleAtOnce},
	{"creating under a stale term is refused", staleCreateIsRefused},
	{"creating a run again is refused", repeatedCreateIsRefused},

	{"a claim moves the revision and refuses earlier terms", claimRefusesEarlierTerms},
	{"a claim may be repeated in its term", claimMayBeRepeated},
	{"a claim returns the run with its nodes by name", claimReturnsNodesByName},
	{"what is not there is not found", missingRunsAreNotFound},

	{"a commit lands once when it is repeated", commitLandsOnce},
	{"a commit that landed is recognised after a claim", commitIsRecognisedAfterClaim},
	{"a commit decided on another revision or predecessor conflicts", misplacedCommitConflicts},
	{"a commit of a term that has not claimed the run conflicts", unclaimedCommitConflicts},
	{"a fence commit is refused once a later term has begun", fenceCommitIsRefused},
	{"a fence commit or create that a new leader does not see is refused", newLeaderSeesOrRefuses},
	{"concurrent commits on one revision land once", concurrentCommitsLandOnce},
	{"a commit lands with all its parts or none", commitIsAllOrNothing},
	{"a commit inserts new node records and replaces changed ones", commitReplacesNodes},
	{"a commit does not change the immutable parts of a run", immutablePartsStay},
	{"a commit of 1,024 nodes and events lands", largeCommitLands},

	{"sealing stamps everything and may be repeated", sealStampsEverything},
	{"an unfinished run cannot be stamped", unfinishedRunIsNotSealed},
	{"an interrupted stamp is resumed by a later term", interruptedSealIsResumed},
	{"a stamp of an earlier term than the run's is refused", staleSealIsRefused},
	{"a commit after the stamp opens the run until it is stamped again", commitUnseals},
	{"a commit beside a stamp is stamped or leaves the run unsealed", commitBesideSeal},
	{"reopening a run takes its stamps back", reopeningTakesStampsBack},
	{"runs stay open until they are stamped and settled", openRuns},
	{"open runs are listed as they are queued, and the newest runs by creation", runsAreOrdered},

	{"an idempotency key is found with its digest only", effectIsFound},
	{"a key used before keeps a commit from landing", usedKeyKeepsCommit},
	{"a commit that fails leaves no key", failedCommitLeavesNoKey},

	{"applying numbers revisions without gaps and skips what is the same", applyNumbersRevisions},
	{"applying concurrently makes no gaps", concurrentApplyMakesNoGaps},
	{"applying is all or none and keeps its answer", applyIsAllOrNone},
	{"every field of a playbook comes back", playbookComesBack},

	{"runs are paged and filtered, newest first", runsArePaged},
	{"node records are paged and filtered by name", runNodesArePaged},
	{"playbooks and revisions are paged", playbooksArePaged},
	{"a page stays in place while the list changes", pagesAreStable},
	{"a cursor that was not given out is refused", badCursorIsRefused},
	{"events are read after a number and up to a limit", eventsAreRead},

	{"following delivers each event once and in order", followDeliversInOrder},
	{"following ends with its context and with deliver's error", followEnds},
	{"a replica follows what another writes", replicaFollows},

	{"known nodes are saved, replaced and forgotten", knownNodes},
	{"known nodes are paged and counted by cluster", knownNodesArePaged},
	{"known nodes of a stale term are refused", staleKnownNodesAreRefused},

	{"a stamped run expires with all that is its own", sealedRunExpires},
	{"any sequence of writes ends as it does in the model", anySequenceEndsAsInTheModel},
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

// forEver is a TTL that no test outlives.
const forEver = 24 * time.Hour

// open opens an initialised store in a new place, and maintains it until the test ends.
func open(tb testing.TB, backend Backend) store.Store {
	tb.Helper()
	return openAt(tb, backend(tb), forEver)
}

func openAt(tb testing.TB, place Place, ttl time.Duration) store.Store {
	tb.Helper()
	s, err := place.Open(ttl)
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

// lead begins a term.
func lead(tb testing.TB, s store.Store) int64 {
	tb.Helper()
	term, err := s.BeginTerm(tb.Context(), 0)
	must(tb, err)
	return term.Term
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// same compares as records are compared everywhere: an empty list or object is one that is not there.
func same(tb testing.TB, what string, got, want any) {
	tb.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		tb.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// all follows the cursors of a list to its end.
func all[T any](tb testing.TB, limit int, list func(page store.Page) ([]T, string, error)) []T {
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
			tb.Fatal("the list does not go on after a page, but has another")
		}
		page.Cursor = next
	}
}

// names maps items to what identifies them.
func names[T any](items []T, name func(T) string) []string {
	var found []string
	for _, item := range items {
		found = append(found, name(item))
	}
	return found
}
