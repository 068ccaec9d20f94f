package replica

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	agentclient "github.com/replicante-io/playbooks/agent/client"
	"github.com/replicante-io/playbooks/agent/wire"
	"github.com/replicante-io/playbooks/controller"
	"github.com/replicante-io/playbooks/record"
	"github.com/replicante-io/playbooks/store"
)

// metrics are a replica's own; each replica has a registry, so that several fit into a process. No label has more values
// than there are clusters.
type metrics struct {
	registry       *prometheus.Registry
	leading, term  prometheus.Gauge
	takeovers      prometheus.Counter
	takeover       prometheus.Histogram
	takeoverPhases *prometheus.HistogramVec // phase
	losses         *prometheus.CounterVec   // reason
	ended          *prometheus.CounterVec   // state
	rollbacks      *prometheus.CounterVec   // state
	commits        *prometheus.CounterVec   // result
	commit         prometheus.Histogram
	dispatches     *prometheus.CounterVec // result
	storeErrors    *prometheus.CounterVec // call, kind
	etcdErrors     *prometheus.CounterVec // call, code
	schedules      *prometheus.CounterVec // state, reason
}

// takeoverBuckets and commitBuckets are in seconds.
var (
	takeoverBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}
	commitBuckets   = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
)

// newMetrics makes the metrics of a replica. stats returns false while the replica does not lead.
func newMetrics(storeUnavailable func() bool, stats func() (controller.Stats, bool)) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "replicante_" + name, Help: help}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		leading:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "replicante_leading", Help: "1 while this replica leads."}),
		term:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "replicante_term", Help: "The latest term that this replica began."}),
		takeovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "replicante_takeovers_total", Help: "How often this replica began to lead."}),
		takeover: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "replicante_takeover_seconds",
			Help: "Time from the election of this replica until all open runs continued.", Buckets: takeoverBuckets}),
		takeoverPhases: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "replicante_takeover_phase_seconds",
			Help:    "Time of the parts of a takeover: term (beginning a term), runs (reading nodes and claiming runs).",
			Buckets: takeoverBuckets}, []string{"phase"}),
		losses:    counter("leaderships_lost_total", "How often this replica stopped leading, by reason.", "reason"),
		ended:     counter("runs_ended_total", "Runs that ended under this replica, by their final state.", "state"),
		rollbacks: counter("rollbacks_total", "Rollbacks that ended under this replica, by result: DONE, FAILED, CANCELLED.", "state"),
		commits: counter("commits_total",
			"Attempts to commit a decision about a run, by result: ok, unavailable, stale_term, conflict, other.", "result"),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "replicante_commit_seconds",
			Help: "Duration of successful commits.", Buckets: commitBuckets}),
		dispatches: counter("dispatches_total",
			"Actions sent to agents, by result: accepted, exists, rejected, fenced, not_sent, unknown.", "result"),
		storeErrors: counter("store_errors_total",
			"Calls of the primary store that failed, by method and kind: unavailable, unusable, stale_term, conflict, other.", "call", "kind"),
		etcdErrors: counter("etcd_errors_total", "Calls of etcd that failed, by method and gRPC code.", "call", "code"),
		schedules: counter("schedule_results_total",
			"Due times of schedules, by what became of them (STARTED, SKIPPED, REJECTED) and the code of the reason.", "state", "reason"),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.leading, m.term, m.takeovers, m.takeover, m.takeoverPhases, m.losses, m.ended, m.rollbacks, m.commits, m.commit, m.dispatches,
		m.storeErrors, m.etcdErrors, m.schedules, statsCollector{stats},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "replicante_store_unavailable",
			Help: "1 while the primary store does not answer this replica."}, func() float64 {
			if storeUnavailable() {
				return 1
			}
			return 0
		}))
	for _, state := range []record.RollbackState{record.RollbackDone, record.RollbackFailed, record.RollbackCancelled} {
		m.rollbacks.WithLabelValues(string(state))
	}
	for _, result := range []string{"ok", "unavailable", "stale_term", "conflict", "other"} {
		m.commits.WithLabelValues(result)
	}
	for _, result := range []string{"accepted", "exists", "rejected", "fenced", "not_sent", "unknown"} {
		m.dispatches.WithLabelValues(result)
	}
	return m
}

// scheduleResult counts what became of a due time of a schedule.
func (m *metrics) scheduleResult(state record.FiringState, code string) {
	m.schedules.WithLabelValues(string(state), code).Inc()
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// errorKind is the kind of failure of the store that err is; "" if it is none.
func errorKind(err error) string {
	switch {
	case err == nil, errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrExists), errors.Is(err, store.ErrKeyReused):
		return ""
	case errors.Is(err, store.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, store.ErrUnusable):
		return "unusable"
	case errors.Is(err, store.ErrStaleTerm):
		return "stale_term"
	case errors.Is(err, store.ErrConflict):
		return "conflict"
	}
	return "other"
}

// countedStore counts and times the commits of a store.
type countedStore struct {
	*store.Interceptor
	m *metrics
}

func (s countedStore) Commit(ctx context.Context, term int64, commit record.Commit) error {
	begun := time.Now()
	err := s.Interceptor.Commit(ctx, term, commit)
	if err != nil {
		result := errorKind(err)
		if result == "" {
			result = "other"
		}
		s.m.commits.WithLabelValues(result).Inc()
		return err
	}
	s.m.commit.Observe(time.Since(begun).Seconds())
	s.m.commits.WithLabelValues("ok").Inc()
	for i := range commit.Events {
		switch commit.Events[i].Type {
		case record.EventRunFinished:
			s.m.ended.WithLabelValues(string(commit.Run.State)).Inc()
		case record.EventRunRolledBack, record.EventRunRollbackFailed:
			s.m.rollbacks.WithLabelValues(string(commit.Run.Rollback.State)).Inc()
		}
	}
	return nil
}

// countedAgents counts the actions that are sent to agents.
type countedAgents struct {
	*agentclient.Client
	m *metrics
}

func (a countedAgents) Post(ctx context.Context, agentURL string, action wire.ActionRequest, wait time.Duration) (wire.Action, error) {
	answer, err := a.Client.Post(ctx, agentURL, action, wait)
	result := "unknown"
	switch {
	case err == nil:
		result = "accepted"
	case errors.Is(err, wire.ErrExists):
		result = "exists"
	case errors.Is(err, wire.ErrRejected):
		result = "rejected"
	case errors.As(err, new(*wire.Fenced)):
		result = "fenced"
	case errors.Is(err, wire.ErrNotSent):
		result = "not_sent"
	}
	a.m.dispatches.WithLabelValues(result).Inc()
	return answer, err
}
