package runtimemetrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A Collector is a [prometheus.Collector] of the metrics in [All]. Register it
// beside client_golang's own Go and process collectors: no name is in both.
//
// What is cumulative or a state is read at the scrape. What must be measured
// over time, percentiles and shares of an interval and the wake-up probe, is
// the Sampler's, so a scrape changes nothing and two scrapers do not disturb
// each other. A metric that has no source is left out, never zero.
//
// The zero Collector works, without what is the Sampler's. A Collector must
// not be copied after its first use.
type Collector struct {
	// Sampler, which the program runs, gives the figures of the last interval.
	// Default none: they are left out.
	Sampler *Sampler

	once   sync.Once
	reader *reader
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range exported() {
		ch <- m.desc
	}
}

// Collect implements [prometheus.Collector]. It may be called concurrently.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.once.Do(func() { c.reader = newReader() })
	var v view
	c.reader.read(&v.Snapshot)
	c.Sampler.look(&v)
	v.emit(ch)
}

// emit sends every metric that has a source.
func (v *view) emit(ch chan<- prometheus.Metric) {
	var created *timestamppb.Timestamp
	if !v.Process.Started.IsZero() {
		created = timestamppb.New(v.Process.Started)
	}
	for _, m := range exported() {
		if m.distribution != nil {
			if d := m.distribution(v); d.Known() {
				ch <- &histogramMetric{m.desc, *d, created}
			}
			continue
		}
		for i := range m.series {
			if value := m.series[i].value(v); Known(value) {
				ch <- &valueMetric{m.desc, m.Kind, m.pairs[i], value}
			}
		}
	}
}

// look adds what the sampler knows to v.
func (s *Sampler) look(v *view) {
	if s == nil {
		return
	}
	v.last, v.sampled = s.Latest()
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.cost = s.cost; v.cost.running {
		v.Wakeup = s.wakeup
	}
}

// An exportedMetric is a row of the table made ready for client_golang.
type exportedMetric struct {
	*metric
	desc  *prometheus.Desc
	pairs [][]*dto.LabelPair // of each series
}

var exported = sync.OnceValue(func() []exportedMetric {
	out := make([]exportedMetric, len(table))
	for i := range table {
		m := &table[i]
		out[i] = exportedMetric{
			metric: m,
			desc:   prometheus.NewDesc(m.Name, m.Help, m.Labels, nil),
			pairs:  make([][]*dto.LabelPair, len(m.series)),
		}
		for j, s := range m.series {
			out[i].pairs[j] = prometheus.MakeLabelPairs(out[i].desc, s.labels)
		}
	}
	return out
})

// A valueMetric is one series of a counter or a gauge.
type valueMetric struct {
	desc  *prometheus.Desc
	kind  Kind
	pairs []*dto.LabelPair
	value float64
}

func (m *valueMetric) Desc() *prometheus.Desc { return m.desc }

func (m *valueMetric) Write(out *dto.Metric) error {
	out.Label = m.pairs
	if m.kind == Counter {
		out.Counter = &dto.Counter{Value: &m.value}
	} else {
		out.Gauge = &dto.Gauge{Value: &m.value}
	}
	return nil
}
