package replica

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/replicante-io/playbooks/controller"
	"github.com/replicante-io/playbooks/record"
)

// stats counts what this replica manages; it returns false while it does not lead.
func (r *Replica) stats() (controller.Stats, bool) {
	if c, leads := r.controller(); leads {
		return c.Stats()
	}
	return controller.Stats{}, false
}

// statsCollector counts when metrics are read. A replica that does not lead has none of these metrics.
type statsCollector struct {
	stats func() (controller.Stats, bool)
}

var (
	runsDesc      = prometheus.NewDesc("replicante_runs", "Runs that have not ended by state, of the leader.", []string{"state"}, nil)
	unsettledDesc = prometheus.NewDesc("replicante_unsettled_actions",
		"Actions of all runs, ended ones too, that may still be running although their ends are not known, of the leader.", nil, nil)
	nodesDesc = prometheus.NewDesc("replicante_nodes", "Known nodes by cluster and status, of the leader.",
		[]string{"cluster", "status"}, nil)
	presentDesc = prometheus.NewDesc("replicante_nodes_present", "Known nodes with a live key in etcd by cluster, of the leader.",
		[]string{"cluster"}, nil)
	outOfServiceDesc = prometheus.NewDesc("replicante_nodes_out_of_service",
		"Known nodes that a run has locked or that are not HEALTHY by cluster, of the leader.", []string{"cluster"}, nil)
	mailboxDesc = prometheus.NewDesc("replicante_mailbox_inputs", "Inputs that wait in the mailboxes of all runs, of the leader.",
		nil, nil)
	dispatcherDesc = prometheus.NewDesc("replicante_dispatcher_queue",
		"Calls to agents that wait because too many are made at the same time, of the leader.",
		nil, nil)
	effectsDesc = prometheus.NewDesc("replicante_effects_in_flight", "Actions and fact requests of all runs that are in flight by kind, of the leader.",
		[]string{"kind"}, nil)
)

var openStates = []record.RunState{record.RunPendingApprove, record.RunPending, record.RunRunning, record.RunPausing,
	record.RunPaused, record.RunCancelling, record.RunRollingBack}

var statuses = []record.Status{record.StatusHealthy, record.StatusUnhealthy, record.StatusUnavailable, record.StatusJoining,
	record.StatusLeaving, record.StatusNotInCluster, record.StatusUnknown, record.StatusUnreachable}

func (c statsCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{runsDesc, unsettledDesc, nodesDesc, presentDesc, outOfServiceDesc, mailboxDesc, dispatcherDesc, effectsDesc} {
		descs <- desc
	}
}

func (c statsCollector) Collect(out chan<- prometheus.Metric) {
	stats, leads := c.stats()
	if !leads {
		return
	}
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	for _, state := range openStates {
		gauge(runsDesc, stats.Runs[state], string(state))
	}
	gauge(unsettledDesc, stats.Unsettled)
	for cluster, counted := range stats.Clusters {
		counts := counted.Status
		other := 0 // agents may report any status: those that are not ours share a label
		for _, n := range counts {
			other += n
		}
		for _, status := range statuses {
			gauge(nodesDesc, counts[status], cluster, string(status))
			other -= counts[status]
		}
		gauge(nodesDesc, other, cluster, "OTHER")
		gauge(presentDesc, counted.Present, cluster)
		gauge(outOfServiceDesc, counted.OutOfService, cluster)
	}
	gauge(mailboxDesc, stats.Runners.MailboxInputs)
	gauge(dispatcherDesc, stats.DispatcherQueue)
	gauge(effectsDesc, stats.Runners.Actions, "action")
	gauge(effectsDesc, stats.Runners.FactRequests, "facts")
}
