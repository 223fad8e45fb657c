package runtimemetrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

func BenchmarkSample(b *testing.B) {
	s := &Sampler{ring: make([]Snapshot, 8)}
	r := newSampleReader()
	defer r.close()
	b.ReportAllocs()
	for b.Loop() {
		s.sample(r)
	}
}

func BenchmarkSampleOfTheRuntimeAlone(b *testing.B) {
	r := newSampleReader()
	defer r.close()
	var s Snapshot
	b.ReportAllocs()
	for b.Loop() {
		r.runtime(&s)
	}
}

func BenchmarkRead(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Read()
	}
}

func BenchmarkLatest(b *testing.B) {
	s := history(61, func(int, *Snapshot) {})
	b.ReportAllocs()
	for b.Loop() {
		s.Latest()
	}
}

// BenchmarkScrape compares a scrape of everything here with client_golang's
// collectors.
func BenchmarkScrape(b *testing.B) {
	everything := collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsAll)
	for _, c := range []struct {
		name       string
		collectors []prometheus.Collector
	}{
		{"ours", []prometheus.Collector{&Collector{Sampler: history(61, func(int, *Snapshot) {})}}},
		{"theirs/go", []prometheus.Collector{collectors.NewGoCollector(everything)}},
		{"theirs/go+process", []prometheus.Collector{
			collectors.NewGoCollector(everything),
			collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			registry := prometheus.NewRegistry()
			registry.MustRegister(c.collectors...)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := registry.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
