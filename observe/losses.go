package observe

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/tracing"
)

// losses counts the telemetry that did not arrive. Traces keep accounts of
// their own, which are read at the scrape.
type losses struct {
	provider *tracing.Provider
	desc     *prometheus.Desc
	mu       sync.Mutex
	counts   map[loss]int
}

type loss struct{ signal, reason string }

func newLosses(p *tracing.Provider) *losses {
	return &losses{provider: p, desc: desc(dropped), counts: map[loss]int{{"metrics", "export_failed"}: 0, {"metrics", "scraper_stalled"}: 0,
		{"profiles", "export_failed"}: 0, {"profiles", "queue_full"}: 0}}
}

func (l *losses) add(signal, reason string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[loss{signal, reason}] += n
}

// Describe implements prometheus.Collector.
func (l *losses) Describe(ch chan<- *prometheus.Desc) { ch <- l.desc }

// Collect implements prometheus.Collector. Every reason is there from the
// start: an alert on a rate needs the zero before the first loss.
func (l *losses) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, n := range l.counts {
		ch <- prometheus.MustNewConstMetric(l.desc, prometheus.CounterValue, float64(n), k.signal, k.reason)
	}
	sums := map[string]int64{}
	for _, reason := range span.Reasons() {
		sums[reason] = 0
	}
	for _, e := range l.provider.Stats().Exporters {
		for reason, n := range e.Dropped {
			sums[reason] += n
		}
	}
	for reason, n := range sums {
		ch <- prometheus.MustNewConstMetric(l.desc, prometheus.CounterValue, float64(n), "traces", reason)
	}
}
