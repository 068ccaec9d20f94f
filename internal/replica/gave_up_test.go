package replica

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
	"github.com/replicante-io/playbooks/store/storetest"
)

// hanging is a store that answers nothing about runs.
type hanging struct{ *storetest.Memory }

func (hanging) Run(ctx context.Context, _ string) (record.Run, error) {
	<-ctx.Done()
	return record.Run{}, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
}

func TestACallThatItsCallerGivesUpIsNoErrorOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Log: hclog.NewNullLogger()})
		s := r.observed(hanging{storetest.NewMemory()})
		counted := func() bool {
			w := httptest.NewRecorder()
			r.metrics.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			return strings.Contains(w.Body.String(), `replicante_store_errors_total{call="Run",kind="unavailable"} 1`)
		}
		call := func(ctx context.Context) {
			if _, err := s.Run(ctx, "r"); !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		call(gone)
		late, cancel := context.WithTimeout(t.Context(), leastPatience/2)
		defer cancel()
		call(late)
		if counted() || len(r.monitor.suspect) != 0 {
			t.Error("a call that was given up counts as an error of the store")
		}
		patient, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		call(patient)
		if !counted() || len(r.monitor.suspect) != 1 {
			t.Error("a store that does not answer in time is not noticed")
		}
	})
}
