package runtimemetrics

import "testing"

func BenchmarkSample(b *testing.B) {
	s := &Sampler{ring: make([]Snapshot, 8)}
	r := newSampleReader()
	b.ReportAllocs()
	for b.Loop() {
		s.sample(r)
	}
}

func BenchmarkSampleRuntimePart(b *testing.B) {
	r := newSampleReader()
	var s Snapshot
	b.ReportAllocs()
	for b.Loop() {
		r.runtime(&s)
	}
}
