package observe

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// other is the label value that stands for all that did not fit.
const other = "other"

// metrics makes instruments from descriptions, all in one registry, and bounds
// the series of each.
type metrics struct {
	registry *prometheus.Registry
	max      int                  // series a metric may have
	buckets  map[string][]float64 // bounds by metric name, in place of the description's
	log      *slog.Logger
	overflow *prometheus.CounterVec

	mu      sync.Mutex
	defined []Description // by the program
	own     []ownCollector
	timings map[string]*histograms[*histogram] // those of the table, by name
}

// timing returns the histograms of a metric of the table, nil before it is made.
func (m *metrics) timing(d Description) *histograms[*histogram] {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.timings[d.Name]
}

func (m *metrics) define(d Description) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.defined = append(m.defined, d)
}

// definitions lists the metrics that the program defined, by name.
func (m *metrics) definitions() []Description {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(slices.Values(m.defined), func(a, b Description) int { return strings.Compare(a.Name, b.Name) })
}

func newMetrics(max int, buckets map[string][]float64, log *slog.Logger) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), max: max, buckets: buckets, log: log, timings: map[string]*histograms[*histogram]{}}
	m.overflow = prometheus.NewCounterVec(prometheus.CounterOpts{Name: seriesOverflow.Name, Help: seriesOverflow.Help}, seriesOverflow.Labels)
	m.registry.MustRegister(m.overflow)
	return m
}

// register panics in the program's words: the registry's own speak of descriptors.
func (m *metrics) register(d Description, c prometheus.Collector) {
	err := m.registry.Register(c)
	switch {
	case err == nil:
		m.mu.Lock()
		defer m.mu.Unlock()
		if slices.ContainsFunc(m.defined, func(o Description) bool { return o.Name == d.Name }) {
			m.own = append(m.own, ownCollector{d, c})
		}
	case errors.Unwrap(err) != nil: // the descriptor is invalid: what follows says why
		panic(fmt.Sprintf("observe: metric %s: %s", d.Name, oneLine(errors.Unwrap(err).Error())))
	default:
		panic(fmt.Sprintf("observe: metric %s: the name is taken by another collector", d.Name))
	}
}

// histogram makes the instrument of a d that stands in the table: classic
// buckets and a native histogram at once, so that both kinds of scraper find
// what they know. Its range is known from its unit.
func (m *metrics) histogram(d Description) *vec[*timing] {
	v, _ := m.histograms(d)
	return v
}

// histograms also returns what the children are: histograms that can be asked
// how much lies up to each of cuts.
func (m *metrics) histograms(d Description, cuts ...float64) (*vec[*timing], *histograms[*histogram]) {
	buckets := d.Buckets
	if b, ok := m.buckets[d.Name]; ok {
		buckets = b
	}
	s := scales[d.Unit]
	switch d.Name {
	case serverStream.Name, clientConnectionDuration.Name:
		s = streamScale
	case jobDuration.Name, jobWait.Name:
		s = jobScale
	}
	hs := newHistograms(d, buckets, s, cuts...)
	m.register(d, hs)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timings[d.Name] = hs
	return newVec(m, d, func(values ...string) *timing { return &timing{own: hs.with(values...)} }), hs
}

// spread makes the histogram of a d of the program's own, which can be anything.
func (m *metrics) spread(d Description) *vec[*wide] {
	hs := newWides(d)
	m.register(d, hs)
	return newVec(m, d, hs.with)
}

func (m *metrics) counter(d Description) *vec[prometheus.Counter] {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help, Unit: unitSuffix(d)}, d.Labels)
	m.register(d, c)
	return newVec(m, d, c.WithLabelValues)
}

func (m *metrics) tally(d Description) *vec[*tally] {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help, Unit: unitSuffix(d)}, d.Labels)
	m.register(d, c)
	return newVec(m, d, func(values ...string) *tally { return &tally{Counter: c.WithLabelValues(values...)} })
}

func (m *metrics) gauge(d Description) *vec[prometheus.Gauge] {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.Name, Help: d.Help, Unit: unitSuffix(d)}, d.Labels)
	m.register(d, g)
	return newVec(m, d, g.WithLabelValues)
}

// A vec is one metric with its label sets bounded. Callers keep what with
// returns, when it is exact, in a cache of their own: with is not for a hot path.
type vec[T any] struct {
	metrics *metrics
	desc    Description
	child   func(values ...string) T
	max     int // label sets

	mu       sync.Mutex
	sets     map[string]struct{}
	distinct []map[string]struct{} // values seen of each label, to name the guilty one
	warned   bool
}

// fixed are the metrics whose label sets the program's text decides, not its
// clients: a small Config.MaxSeries must not take their levels and names away.
var fixed = []string{serverActive.Name, logRecords.Name, checkUp.Name, checkDuration.Name}

func newVec[T any](m *metrics, d Description, child func(...string) T) *vec[T] {
	v := &vec[T]{metrics: m, desc: d, child: child, max: m.max, sets: map[string]struct{}{}}
	if slices.Contains(fixed, d.Name) {
		v.max = math.MaxInt
	}
	for range d.Labels {
		v.distinct = append(v.distinct, map[string]struct{}{})
	}
	if len(d.Labels) == 0 && d.Kind != runtimemetrics.Gauge {
		v.with() // a rate needs the zero before the first event; a gauge that was not set says nothing
	}
	return v
}

// with returns the child for the label values, and whether it is theirs alone.
// When the metric is full, a set that is new falls into the child whose
// guiltiest label is "other", or, when even those have become too many, into
// the one child with every label "other".
func (v *vec[T]) with(values ...string) (child T, exact bool) {
	for i, s := range values {
		values[i] = strings.ToValidUTF8(s, "�") // an invalid label value would panic in the registry
	}
	v.mu.Lock()
	if v.admit(values, v.max) {
		defer v.mu.Unlock()
		return v.child(values...), true
	}
	guilty := 0
	for i := range v.distinct {
		if len(v.distinct[i]) > len(v.distinct[guilty]) {
			guilty = i
		}
	}
	label, example, distinct := v.desc.Labels[guilty], values[guilty], len(v.distinct[guilty])
	values = slices.Clone(values)
	values[guilty] = other
	// A tenth on top for the sets in which one label is "other" already.
	if !v.admit(values, v.max+v.max/10) {
		for i := range values {
			values[i] = other
		}
	}
	child = v.child(values...)
	first := !v.warned
	v.warned = true
	v.mu.Unlock() // before logging: the log handler may count by this very metric
	v.metrics.overflow.WithLabelValues(v.desc.Name, label).Inc()
	if first {
		v.metrics.log.Warn("observe: "+v.desc.Name+" has reached its limit of series; new label sets are counted as other",
			"label", label, "values", distinct, "limit", v.max, "example", clip(example, 80))
	}
	return child, false
}

func (v *vec[T]) admit(values []string, max int) bool {
	key := strings.Join(values, "\xff") // not in valid UTF-8, so keys do not run together
	if _, ok := v.sets[key]; ok {
		return true
	}
	if len(v.sets) >= max {
		return false
	}
	v.sets[key] = struct{}{}
	for i, s := range values {
		v.distinct[i][s] = struct{}{}
	}
	return true
}

// A cache finds instruments by key without a lock; adding copies the map.
type cache[K comparable, V any] struct {
	read atomic.Pointer[map[K]V]
	mu   sync.Mutex
}

func (c *cache[K, V]) get(key K) (value V, ok bool) {
	if m := c.read.Load(); m != nil {
		value, ok = (*m)[key]
	}
	return value, ok
}

func (c *cache[K, V]) len() int {
	if m := c.read.Load(); m != nil {
		return len(*m)
	}
	return 0
}

func (c *cache[K, V]) add(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[K]V{}
	if m := c.read.Load(); m != nil {
		next = maps.Clone(*m)
	}
	next[key] = value
	c.read.Store(&next)
}

// A pace says when a series takes an exemplar, which costs more than the
// observation: once a second, or at once when its value is above the last one
// taken, so that the tail is never without.
type pace struct {
	taken atomic.Int64  // when the last exemplar was taken, Unix nanoseconds
	value atomic.Uint64 // math.Float64bits of its value
}

// due reports whether v gets an exemplar, and notes that it does.
func (p *pace) due(v float64, now int64) bool {
	if now-p.taken.Load() < int64(time.Second) && v <= math.Float64frombits(p.value.Load()) {
		return false
	}
	p.taken.Store(now)
	p.value.Store(math.Float64bits(v))
	return true
}

// A timing is one series of a histogram.
type timing struct {
	own *histogram
	pace
}

// observeFor records how long something took until end. Ids, when valid, names
// the trace that a reader of the exemplar will find.
func (t *timing) observeFor(d time.Duration, end time.Time, ids trace.SpanContext) {
	t.observe(d.Seconds(), end, ids, currentProcessor())
}

func (t *timing) observe(v float64, now time.Time, ids trace.SpanContext, p processor) {
	t.own.observe(v, p)
	if ids.IsValid() && t.due(v, now.UnixNano()) {
		t.own.exemplar(v, now, ids.TraceID().String(), ids.SpanID().String())
	}
}

// exemplify gives the observation of how long s took its exemplar, when one is due.
func (t *timing) exemplify(v float64, s *span.Span) {
	if t.due(v, s.StartTime().UnixNano()+s.Took().Nanoseconds()) {
		t.own.exemplar(v, s.EndTime(), s.TraceID().String(), s.SpanID().String())
	}
}

// checkDescription tells what is wrong with a metric that a program defines.
func checkDescription(d Description) error {
	if !validName(d.Name) {
		return fmt.Errorf("metric name %q: want lower-case words joined by underscores, like shop_orders_total", d.Name)
	}
	switch {
	case d.Help == "":
		return fmt.Errorf("metric %s: Help is empty: say in one sentence what it counts", d.Name)
	case d.Kind == runtimemetrics.Counter && !strings.HasSuffix(d.Name, "_total"):
		return fmt.Errorf("metric %s: a counter's name ends in _total", d.Name)
	case d.Kind != runtimemetrics.Counter && strings.HasSuffix(d.Name, "_total"):
		return fmt.Errorf("metric %s: only a counter's name ends in _total", d.Name)
	case !ascending(d.Buckets):
		return fmt.Errorf("metric %s: Buckets: %v are not finite numbers in ascending order", d.Name, d.Buckets)
	}
	for _, suffix := range []string{"_count", "_sum", "_bucket", "_info"} {
		if strings.HasSuffix(d.Name, suffix) {
			return fmt.Errorf("metric %s: the suffix %s is taken by the exposition format", d.Name, suffix)
		}
	}
	for _, l := range d.Labels {
		if !validName(l) || l == "le" || l == "quantile" {
			return fmt.Errorf("metric %s: label name %q: want lower-case words joined by underscores, other than le and quantile", d.Name, l)
		}
	}
	return nil
}

func validName(s string) bool {
	for i, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c == '_' && i > 0, c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != "" && !strings.HasPrefix(s, "__")
}

// clip shortens hostile text for a log record or an error.
func clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	return strings.ToValidUTF8(s[:max], "") + "…"
}
