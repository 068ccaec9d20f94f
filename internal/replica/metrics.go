package replica

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are a replica's own; each replica has a registry, so that several fit into a process.
type metrics struct {
	registry      *prometheus.Registry
	leading, term prometheus.Gauge
	takeovers     prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		leading:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "replicante_leading", Help: "1 while this replica leads."}),
		term:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "replicante_term", Help: "The last term of this replica."}),
		takeovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "replicante_takeovers_total", Help: "How often this replica began to lead."}),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.leading, m.term, m.takeovers)
	return m
}

// leads notes that this replica leads under term, or, with 0, that it does not any more.
func (m *metrics) leads(term int64) {
	if term == 0 {
		m.leading.Set(0)
		return
	}
	m.leading.Set(1)
	m.term.Set(float64(term))
	m.takeovers.Inc()
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
