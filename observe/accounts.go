package observe

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/tracing"
)

// accounts shows at the scrape what became of the traces: the state of each
// exporter, and what late sampling did.
type accounts struct {
	provider                            *tracing.Provider
	queued, capacity, processed, sent   *prometheus.Desc
	live, keptLate, overBudget, evicted *prometheus.Desc
}

func newAccounts(p *tracing.Provider) *accounts {
	return &accounts{
		provider: p,
		queued:   desc(spanQueueSize), capacity: desc(spanQueueCapacity), processed: desc(spansProcessed), sent: desc(spansExported),
		live: desc(tracesLive), keptLate: desc(tracesKeptLate), overBudget: desc(tracesOverBudget), evicted: desc(tracesEvicted),
	}
}

// Describe implements prometheus.Collector.
func (a *accounts) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{a.queued, a.capacity, a.processed, a.sent, a.live, a.keptLate, a.overBudget, a.evicted} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (a *accounts) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, float64(v), labels...)
	}
	s := a.provider.Stats()
	send(a.live, prometheus.GaugeValue, s.Live)
	send(a.keptLate, prometheus.CounterValue, s.KeptLate)
	send(a.overBudget, prometheus.CounterValue, s.OverBudget)
	send(a.evicted, prometheus.CounterValue, s.Evicted)
	for _, e := range s.Exporters {
		send(a.queued, prometheus.GaugeValue, e.Queued, e.Name)
		send(a.capacity, prometheus.GaugeValue, e.Capacity, e.Name)
		send(a.sent, prometheus.CounterValue, e.Exported, e.Name, "")
		failed := e.Dropped["export_failed"]
		send(a.sent, prometheus.CounterValue, failed, e.Name, "export_failed")
		send(a.processed, prometheus.CounterValue, e.Exported+failed, e.Name, "")
		for reason, n := range e.Dropped {
			if reason != "export_failed" {
				send(a.processed, prometheus.CounterValue, n, e.Name, reason)
			}
		}
	}
}
