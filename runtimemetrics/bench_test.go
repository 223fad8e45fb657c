package runtimemetrics

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

func BenchmarkSample(b *testing.B) {
	s := &Sampler{ring: make([]Snapshot, 8)}
	r := newReader(true)
	defer r.close()
	b.ReportAllocs()
	for b.Loop() {
		s.sample(r)
	}
}

func BenchmarkSampleOfTheRuntimeAlone(b *testing.B) {
	r := newReader(true)
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
	sampler := &Sampler{}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { sampler.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	everything := collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsAll)
	for _, c := range []struct {
		name       string
		collectors []prometheus.Collector
	}{
		{"ours/runtime", []prometheus.Collector{runtimeAlone()}},
		{"ours/everything", []prometheus.Collector{&Collector{Sampler: sampler}}},
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

// runtimeAlone returns a collector that finds no operating system.
func runtimeAlone() *Collector {
	c := &Collector{}
	c.once.Do(func() {})
	c.reader = newReader(false)
	c.reader.system.open("/nowhere")
	return c
}
