//go:build !race

package observe

import (
	"net/http"
	"testing"
	"unsafe"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

// A request costs one allocation more than without observing, and its record
// another when it is sampled. The race detector adds its own.
func TestHandlerAllocations(t *testing.T) {
	if size := unsafe.Sizeof(served{}); size+8 > 576 { // with the allocator's header
		t.Errorf("%d bytes: beyond its size class", size)
	}
	mux := itemsMux()
	measure := func(h http.Handler) float64 {
		w, r := &quietWriter{http.Header{}}, itemsRequest()
		return allocations(200, func() { h.ServeHTTP(w, r) })
	}
	bare := measure(mux)
	for _, c := range []struct {
		name    string
		sampler sdktrace.Sampler
		above   float64
	}{
		{"not sampled", sdktrace.NeverSample(), 1},
		{"sampled", sdktrace.AlwaysSample(), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			tel := start(t, Config{Tracing: tracing.Config{Sampler: c.sampler, Exporter: discard{}}})
			got := measure(tel.Handler(mux)) - bare
			if got > c.above {
				t.Errorf("%v allocations above bare, want at most %v", got, c.above)
			}
			// While the CPU is profiled the pattern is looked up twice, which is what bare
			// costs; the labels themselves cost nothing.
			defer tel.server.watch()()
			if profiled := measure(tel.Handler(mux)) - bare; profiled > got+bare {
				t.Errorf("%v allocations above bare while the CPU is profiled, want at most %v", profiled, got+bare)
			}
		})
	}
}
