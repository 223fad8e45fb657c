package benchmarks

import (
	"context"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/loadline-go/loadline/observe"
)

// BenchmarkIdle is one second in which nobody asks for anything: what the
// goroutines of a peer cost by being there. Beside the CPU time it reports the
// goroutines and the resident memory; memory is worth comparing only when each
// peer has a process of its own, as in the table.
func BenchmarkIdle(b *testing.B) {
	for _, p := range []struct {
		name  string
		start func(*testing.B)
	}{
		{"bare", func(*testing.B) {}},
		{"client_golang", func(b *testing.B) {
			registry := prometheus.NewRegistry()
			registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		}},
		{"otel", func(b *testing.B) { otelhttpHandler(always)(b, itemRoute) }},
		{"datadog", func(b *testing.B) { startDatadog(b, always) }},
		{"observe", func(b *testing.B) {
			tel, err := observe.Start(background, observe.Config{Service: "benchmarks", AdminAddr: "localhost:0"})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { tel.Shutdown(context.Background()) })
			tel.Handler(http.NewServeMux())
		}},
	} {
		b.Run(p.name, func(b *testing.B) {
			before := runtime.NumGoroutine()
			p.start(b)
			time.Sleep(100 * time.Millisecond) // what is done once
			debug.FreeOSMemory()
			start := cpuTime()
			for b.Loop() {
				time.Sleep(time.Second)
			}
			report(b, start, exported.Load())
			b.ReportMetric(float64(runtime.NumGoroutine()-before), "goroutines")
			b.ReportMetric(resident(), "resident-B")
		})
	}
}

// resident is the resident memory of the process; 0 where there is no /proc.
func resident() float64 {
	text, _ := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize())
}
