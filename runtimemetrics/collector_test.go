package runtimemetrics

import (
	"context"
	"maps"
	"math"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

// sampled returns a sampler that has two samples, without running it.
func sampled(t *testing.T) *Sampler {
	t.Helper()
	s := &Sampler{ring: make([]Snapshot, 4)}
	s.cost.running = true
	r := newReader(false)
	s.sample(r)
	s.wakeup.Observe(time.Millisecond)
	s.sample(r)
	return s
}

func TestCollectorLivesBesideClientGolangsOwn(t *testing.T) {
	for name, ours := range map[string]prometheus.Collector{
		"this system":           &Collector{Sampler: sampled(t)},
		"one that knows it all": collectorOf{inventedView()},
	} {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(
			ours,
			collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsAll)),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
			collectors.NewBuildInfoCollector(),
		)
		problems, err := testutil.GatherAndLint(registry)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if !slices.Contains(conventional, p.Metric) && slices.Contains(names(), p.Metric) {
				t.Errorf("%s: %s: %s", name, p.Metric, p.Text)
			}
		}
	}
}

// The conventions have these names, which promlint does not like, and they are
// not ours to improve.
var conventional = []string{
	"go_goroutine_count", "process_thread_count", "process_unix_file_descriptor_count", // gauges that end in _count
	"go_config_gogc_percent", // not a ratio
}

func names() []string {
	var out []string
	for _, d := range All() {
		out = append(out, d.Name)
	}
	return out
}

func TestCollectorEmitsOnlyWhatAllDescribes(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&Collector{Sampler: sampled(t)})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) < 20 {
		t.Errorf("only %d metrics", len(families))
	}
	described := map[string]Description{}
	for _, d := range All() {
		described[d.Name] = d
	}
	for _, f := range families {
		d, ok := described[f.GetName()]
		if !ok {
			t.Errorf("%s is not in All", f.GetName())
			continue
		}
		if got := strings.ToLower(f.GetType().String()); got != string(d.Kind) {
			t.Errorf("%s is a %s, described as a %s", d.Name, got, d.Kind)
		}
		if f.GetHelp() != d.Help {
			t.Errorf("%s: help %q, described %q", d.Name, f.GetHelp(), d.Help)
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
			}
			want := slices.Clone(d.Labels)
			slices.Sort(want)
			if !slices.Equal(labels, want) {
				t.Errorf("%s has labels %v, described %v", d.Name, labels, want)
			}
		}
	}
}

func TestAllDescriptionsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range All() {
		if seen[d.Name] {
			t.Errorf("%s is described twice", d.Name)
		}
		seen[d.Name] = true
		if !strings.HasSuffix(d.Help, ".") || d.Unit == "" {
			t.Errorf("%s: unit %q, help %q", d.Name, d.Unit, d.Help)
		}
		if (d.Kind == Histogram) != (len(d.Buckets) > 0) {
			t.Errorf("%s is a %s with %d buckets", d.Name, d.Kind, len(d.Buckets))
		}
		if d.Kind == Histogram && (len(d.Buckets) < 20 || len(d.Buckets) > 30) {
			t.Errorf("%s has %d buckets", d.Name, len(d.Buckets))
		}
		if d.OTel == "" && !strings.HasPrefix(d.Name, "observe_") {
			t.Errorf("%s has no convention and no prefix", d.Name)
		}
	}
}

func TestHistogramIsClassicAndNativeAtOnce(t *testing.T) {
	var d Distribution
	for _, v := range []time.Duration{
		0, 100, 900, 5 * time.Microsecond, 80 * time.Microsecond, 81 * time.Microsecond,
		time.Millisecond, 12 * time.Millisecond, 3 * time.Second, time.Minute,
	} {
		d.Observe(v)
	}
	var out dto.Metric
	if err := (&histogramMetric{values: d}).Write(&out); err != nil {
		t.Fatal(err)
	}
	h := out.Histogram
	if h.GetSampleCount() != d.Count() {
		t.Errorf("count %d, want %d", h.GetSampleCount(), d.Count())
	}
	last := h.Bucket[len(h.Bucket)-1]
	if got := last.GetCumulativeCount(); got != d.Count()-1 {
		t.Errorf("%d observations up to %v s, want all but the minute", got, last.GetUpperBound())
	}
	if got := h.Bucket[0].GetCumulativeCount(); got != 3 {
		t.Errorf("%d observations up to 1 µs, want 3", got)
	}
	// Read the spans back as a server does, and compare with what was observed.
	got := map[int32]uint64{}
	index, count, i := int32(0), int64(0), 0
	for _, span := range h.PositiveSpan {
		index += span.GetOffset()
		for range span.GetLength() {
			if count += h.PositiveDelta[i]; count > 0 {
				got[index] = uint64(count)
			}
			index++
			i++
		}
	}
	if i != len(h.PositiveDelta) {
		t.Errorf("spans of %d buckets, %d deltas", i, len(h.PositiveDelta))
	}
	want := map[int32]uint64{}
	var zero uint64
	for i, c := range d.counts {
		switch {
		case c == 0:
		case nativeIndex[i] == inZero:
			zero += c
		default:
			want[int32(nativeIndex[i])] += c
		}
	}
	if !maps.Equal(got, want) || h.GetZeroCount() != zero {
		t.Errorf("native buckets %v and %d near zero, want %v and %d", got, h.GetZeroCount(), want, zero)
	}
}

func TestEmptyHistogramIsValid(t *testing.T) {
	var out dto.Metric
	if err := (&histogramMetric{}).Write(&out); err != nil {
		t.Fatal(err)
	}
	h := out.Histogram
	if h.GetSampleCount() != 0 || len(h.PositiveSpan) != 0 || h.GetZeroThreshold() == 0 {
		t.Errorf("%v", h)
	}
}

// The errors that the comments of nativeSchema and Distribution admit.
func TestNativeBucketsAreNearTheTruth(t *testing.T) {
	for v := 200 * time.Nanosecond; v < 16*time.Second; v = v*21/20 + 1 {
		index := nativeIndex[gridIndex(v)]
		upper := math.Exp2(float64(index) / 4)
		lower := math.Exp2(float64(index-1) / 4)
		if s := v.Seconds(); s > upper*1.19 || s < lower/1.19 {
			t.Errorf("%v is in the native bucket (%g, %g]", v, lower, upper)
		}
	}
}

func TestScrapersDoNotDisturbEachOther(t *testing.T) {
	sampler := &Sampler{Interval: 5 * time.Millisecond, Probe: time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { sampler.Run(ctx) })
	registry := prometheus.NewRegistry()
	registry.MustRegister(&Collector{Sampler: sampler})
	time.Sleep(50 * time.Millisecond)
	for range 4 {
		running.Go(func() {
			var before uint64
			for range 20 {
				families, err := registry.Gather()
				if err != nil {
					t.Error(err)
					return
				}
				for _, f := range families {
					if f.GetName() != "observe_wakeup_delay_seconds" {
						continue
					}
					now := f.GetMetric()[0].GetHistogram().GetSampleCount()
					if now < before || now == 0 {
						t.Errorf("%d probes after %d", now, before)
					}
					before = now
				}
			}
		})
	}
	// The interval that the sampler measured is not the scrapers'.
	for range 20 {
		if d, ok := sampler.Latest(); ok && d.Interval > time.Second {
			t.Errorf("an interval of %v", d.Interval)
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	running.Wait()
}

// The page is of one invented process, so that it shows each metric once.
func TestCollectorPage(t *testing.T) {
	v := inventedView()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collectorOf{v})
	got := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(got, httptest.NewRequest("GET", "/metrics", nil))
	const golden = "testdata/metrics.txt"
	if *update {
		if err := os.WriteFile(golden, got.Body.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.Body.String() != string(want) {
		t.Errorf("the page differs from %s; run with -update and look at the difference:\n%s", golden, got.Body)
	}
	for _, d := range All() {
		if !strings.Contains(string(want), "\n# TYPE "+d.Name+" ") {
			t.Errorf("%s is not on the page", d.Name)
		}
	}
}

type collectorOf struct{ view *view }

func (c collectorOf) Describe(ch chan<- *prometheus.Desc) { new(Collector).Describe(ch) }
func (c collectorOf) Collect(ch chan<- prometheus.Metric) { c.view.emit(ch) }

// inventedView has a different number for each figure.
func inventedView() *view {
	v := &view{sampled: true}
	next := 0.
	var fill func(reflect.Value)
	fill = func(f reflect.Value) {
		switch f.Kind() {
		case reflect.Float64:
			next++
			f.SetFloat(next)
		case reflect.Struct:
			for i := range f.NumField() {
				if f.Field(i).CanSet() {
					fill(f.Field(i))
				}
			}
		}
	}
	fill(reflect.ValueOf(&v.Snapshot).Elem())
	v.Time = time.Unix(1_700_000_100, 0)
	v.Process.Started = time.Unix(1_700_000_000, 0)
	for i := range 20 {
		v.SchedLatency.Observe(time.Microsecond << i)
		v.GCPause.Observe(20 * time.Microsecond << (i % 3))
		v.OtherPause.Observe(5 * time.Microsecond)
		v.Wakeup.Observe(time.Millisecond)
	}
	v.last.Sched = v.SchedLatency
	v.last.GCShare = .25
	v.last.Headroom = Headroom{Ratio: .5, After: time.Hour}
	v.cost = samplerCost{running: true, sampling: time.Second, probing: 2 * time.Second, samples: 3, probes: 4}
	return v
}
