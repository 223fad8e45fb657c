package observe

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// A Metric names a metric that a program defines for itself.
type Metric struct {
	// Name is the Prometheus name: lower-case words joined by underscores, the
	// unit at the end, and "_total" for a counter: shop_orders_total, shop_basket_euros.
	Name string

	// Help says in one sentence what the metric tells.
	Help string

	// Unit is what the metric counts in, a plural word with which Name ends,
	// before "_total": euros, items, seconds. It stands in the metric's metadata,
	// where Grafana and others read it. A unit of time, size or share is the base
	// unit: seconds, bytes, ratio.
	// Default: the base unit of Prometheus with which Name ends, else none.
	Unit string

	// Buckets are the upper bounds of a histogram's classic buckets, ascending,
	// without +Inf.
	// Default: bounds for durations, from 5 ms to 10 s, when the name ends in
	// _seconds; for sizes, from 256 B to 64 MiB, when it ends in _bytes; else
	// from 0.01 to ten million.
	Buckets []float64
}

// A Counter only grows. L is a struct whose fields are the labels: strings,
// booleans and integers, and types made of these, named by a `label:"name"` tag or else by the field's
// name in snake case; struct{} for none. The label sets of a metric are
// bounded by Config.MaxSeries. A nil Counter does nothing. Its methods may be
// called concurrently.
type Counter[L comparable] struct{ s series[L, *tally] }

// A tally is one series of a counter.
type tally struct {
	prometheus.Counter
	pace
}

// NewCounter defines a counter. It is meant for package or program start: a
// name, help or label that cannot work, or a name that is taken, is a mistake
// of the program and panics. On a nil Telemetry it returns nil.
func NewCounter[L comparable](t *Telemetry, m Metric) *Counter[L] {
	if t == nil {
		return nil
	}
	c := &Counter[L]{}
	d := c.s.describe(t, m, runtimemetrics.Counter)
	c.s.vec = t.metrics.tally(d)
	return c
}

// Add adds n, which must not be negative. An n that is negative or not finite
// would spoil the metric until the process ends; it is ignored. When ctx is
// that of a sampled trace, its ID becomes an exemplar: once a second a series,
// or at once when n is above the last value that got one.
func (c *Counter[L]) Add(ctx context.Context, labels L, n float64) {
	if c == nil || !(n >= 0 && n <= math.MaxFloat64) {
		return
	}
	child := c.s.of(labels)
	// The time of day costs more than counting.
	if s := span.Sampled(ctx); s != nil && child.due(n, time.Now().UnixNano()) {
		ids := s.SpanContext()
		child.Counter.(prometheus.ExemplarAdder).AddWithExemplar(n, prometheus.Labels{
			"trace_id": ids.TraceID().String(), "span_id": ids.SpanID().String(),
		})
		return
	}
	child.Add(n)
}

// A Gauge goes up and down. See Counter for L and for nil.
type Gauge[L comparable] struct{ s series[L, prometheus.Gauge] }

// NewGauge defines a gauge; see NewCounter.
func NewGauge[L comparable](t *Telemetry, m Metric) *Gauge[L] {
	if t == nil {
		return nil
	}
	g := &Gauge[L]{}
	d := g.s.describe(t, m, runtimemetrics.Gauge)
	g.s.vec = t.metrics.gauge(d)
	return g
}

// Set sets the value.
func (g *Gauge[L]) Set(labels L, v float64) {
	if g != nil {
		g.s.of(labels).Set(v)
	}
}

// Add adds v, which may be negative.
func (g *Gauge[L]) Add(labels L, v float64) {
	if g != nil {
		g.s.of(labels).Add(v)
	}
}

// A Histogram tells how values are distributed: counts, sum and quantiles, as
// classic buckets and as a native histogram. See Counter for L and for nil.
//
// Its native buckets have eight steps to each power of two, so that a quantile
// is within 5 % of the truth, from 5e-20 to 2e19 and as far below zero; where a
// metric's values are so far apart that more than 160 buckets hold some, the
// steps become wider.
type Histogram[L comparable] struct{ s series[L, *wide] }

// NewHistogram defines a histogram; see NewCounter.
func NewHistogram[L comparable](t *Telemetry, m Metric) *Histogram[L] {
	if t == nil {
		return nil
	}
	if len(m.Buckets) == 0 {
		m.Buckets = bucketsFor(m.Name)
	}
	h := &Histogram[L]{}
	d := h.s.describe(t, m, runtimemetrics.Histogram)
	h.s.vec = t.metrics.spread(d)
	return h
}

// bucketsFor returns bounds that suit what the name says is measured.
func bucketsFor(name string) []float64 {
	switch {
	case strings.HasSuffix(name, "_seconds"):
		return requestSeconds
	case strings.HasSuffix(name, "_bytes"):
		return bodyBytes
	}
	return anything
}

// Observe records v; what is not finite is ignored. When ctx is that of a
// sampled trace, its ID becomes an exemplar: once a second a series, or at once
// when v is above the last value that got one.
func (h *Histogram[L]) Observe(ctx context.Context, labels L, v float64) {
	if h == nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	child := h.s.of(labels)
	child.observe(v)
	if s := span.Sampled(ctx); s != nil {
		if now := time.Now(); child.due(v, now.UnixNano()) {
			ids := s.SpanContext()
			child.exemplar(v, now, ids.TraceID().String(), ids.SpanID().String())
		}
	}
}

// series finds the child of a label struct.
type series[L comparable, T any] struct {
	vec    *vec[T]
	found  cache[L, T]
	fields []int
}

func (s *series[L, T]) of(labels L) T {
	if child, ok := s.found.get(labels); ok {
		return child
	}
	v := reflect.ValueOf(labels)
	values := make([]string, len(s.fields))
	for i, f := range s.fields {
		switch field := v.Field(f); field.Kind() {
		case reflect.String:
			values[i] = field.String()
		case reflect.Bool:
			values[i] = strconv.FormatBool(field.Bool())
		case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			values[i] = strconv.FormatUint(field.Uint(), 10)
		default:
			values[i] = strconv.FormatInt(field.Int(), 10)
		}
	}
	child, exact := s.vec.with(values...)
	if exact {
		s.found.add(labels, child)
	}
	return child
}

// describe reads the labels from L and checks the whole.
func (s *series[L, T]) describe(t *Telemetry, m Metric, kind runtimemetrics.Kind) Description {
	d := Description{Name: m.Name, Kind: kind, Help: m.Help, Buckets: m.Buckets}
	fail := func(err error) { panic("observe: " + err.Error()) }
	typ := reflect.TypeFor[L]()
	if typ.Kind() != reflect.Struct {
		fail(fmt.Errorf("metric %s: labels are the fields of a struct, not %v; use struct{} for none", m.Name, typ))
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		switch k := f.Type.Kind(); {
		case k == reflect.String, k == reflect.Bool, k >= reflect.Int && k <= reflect.Uint64:
		default:
			fail(fmt.Errorf("metric %s: label field %s: want a string, a boolean or an integer, not %v", m.Name, f.Name, f.Type))
		}
		name := f.Tag.Get("label")
		if name == "" {
			name = snake(f.Name)
		}
		if slices.Contains(d.Labels, name) {
			fail(fmt.Errorf("metric %s: two fields are called %s", m.Name, name))
		}
		d.Labels = append(d.Labels, name)
		s.fields = append(s.fields, i)
	}
	return define(t, m, d)
}

// define checks a description that a program made, and notes it.
func define(t *Telemetry, m Metric, d Description) Description {
	err := checkDescription(d)
	if err == nil {
		d, err = withUnit(d, m.Unit)
	}
	switch {
	case err != nil:
	case d.Kind != runtimemetrics.Histogram && m.Buckets != nil:
		err = fmt.Errorf("metric %s: only a histogram has Buckets", m.Name)
	case slices.ContainsFunc(All(), func(o Description) bool { return o.Name == d.Name }):
		err = fmt.Errorf("metric %s: the name is one of observe.All", d.Name)
	}
	if err != nil {
		panic("observe: " + err.Error())
	}
	t.metrics.define(d)
	return d
}

// snake turns PaymentMethod into payment_method and UserID into user_id.
func snake(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
