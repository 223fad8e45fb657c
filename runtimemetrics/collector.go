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
	for _, m := range exported().rows {
		ch <- m.desc
	}
}

// Collect implements [prometheus.Collector]. It may be called concurrently.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	var v view
	c.source().read(&v.Snapshot, true)
	c.Sampler.look(&v)
	v.emit(ch)
}

// source returns the reader of a sampler that runs, since its files are open,
// or one of the collector's own.
func (c *Collector) source() *reader {
	if s := c.Sampler; s != nil {
		s.mu.Lock()
		r := s.reader
		s.mu.Unlock()
		if r != nil {
			return r
		}
	}
	c.once.Do(func() { c.reader = newReader(false) })
	return c.reader
}

// emit sends every metric that has a source.
func (v *view) emit(ch chan<- prometheus.Metric) {
	var created *timestamppb.Timestamp
	if !v.Process.Started.IsZero() {
		created = timestamppb.New(v.Process.Started)
	}
	metrics := exported()
	values := make([]valueMetric, metrics.series)
	for i := range metrics.rows {
		m := &metrics.rows[i]
		if m.distribution != nil {
			if d := m.distribution(v); d.Known() {
				ch <- &histogramMetric{m.desc, *d, created}
			}
			continue
		}
		for j := range m.series {
			value := m.series[j].value(v)
			if !Known(value) {
				continue
			}
			out := &values[0]
			values = values[1:]
			out.desc, out.pairs, out.value = m.desc, m.pairs[j], value
			if out.isCounter = m.Kind == Counter; out.isCounter {
				out.counter.Value = &out.value
			} else {
				out.gauge.Value = &out.value
			}
			ch <- out
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

// exportedMetrics is the table made ready for client_golang.
type exportedMetrics struct {
	rows   []exportedMetric
	series int // of all rows
}

type exportedMetric struct {
	*metric
	desc  *prometheus.Desc
	pairs [][]*dto.LabelPair // of each series
}

var exported = sync.OnceValue(func() (out exportedMetrics) {
	out.rows = make([]exportedMetric, len(table))
	for i := range table {
		m := &table[i]
		e := &out.rows[i]
		e.metric = m
		e.desc = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
		for _, s := range m.series {
			e.pairs = append(e.pairs, prometheus.MakeLabelPairs(e.desc, s.labels))
		}
		out.series += len(m.series)
	}
	return out
})

// A valueMetric is one series of a counter or a gauge, with all that its Write
// hands out, so that a scrape allocates them at once.
type valueMetric struct {
	desc      *prometheus.Desc
	pairs     []*dto.LabelPair
	value     float64
	isCounter bool
	counter   dto.Counter
	gauge     dto.Gauge
}

func (m *valueMetric) Desc() *prometheus.Desc { return m.desc }

func (m *valueMetric) Write(out *dto.Metric) error {
	out.Label = m.pairs
	if m.isCounter {
		out.Counter = &m.counter
	} else {
		out.Gauge = &m.gauge
	}
	return nil
}
