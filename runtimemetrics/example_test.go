package runtimemetrics_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/loadline-go/loadline/runtimemetrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	sampler := &runtimemetrics.Sampler{Interval: 20 * time.Millisecond}
	var running sync.WaitGroup
	running.Go(func() { sampler.Run(ctx) })

	time.Sleep(100 * time.Millisecond) // the program's work
	if d, ok := sampler.Latest(); ok {
		fmt.Println("waits are measured:", runtimemetrics.Known(d.SchedWait), runtimemetrics.Known(d.MutexWait))
	}
	cancel()
	running.Wait()
	// Output: waits are measured: true true
}

func ExampleRead() {
	before := runtimemetrics.Read()
	garbage := make([][]byte, 0, 64)
	for range 64 {
		garbage = append(garbage, make([]byte, 1<<20))
	}
	after := runtimemetrics.Read()
	d := after.Since(&before)
	fmt.Println("allocated at least 64 MiB:", d.AllocatedPerSecond*d.Interval.Seconds() >= 64<<20, len(garbage))
	// Output: allocated at least 64 MiB: true 64
}

func ExampleSnapshot_Since() {
	before := runtimemetrics.Read()
	var mu sync.Mutex
	mu.Lock()
	time.AfterFunc(10*time.Millisecond, mu.Unlock)
	mu.Lock()
	after := runtimemetrics.Read()
	d := after.Since(&before)
	fmt.Println("no less than nothing:", d.MutexWait >= 0)
	// Output: no less than nothing: true
}

func ExampleSnapshot() {
	s := runtimemetrics.Read()
	fmt.Println(s.Goroutines.Total > 0, s.Memory.Used > 0, s.Processors >= 1, s.CPU.Total >= 0, s.GC.Cycles >= 0)
	// Output: true true true true true
}

// A figure that is not there is not zero.
func ExampleKnown() {
	s := runtimemetrics.Read()
	describe := func(limit float64) string {
		if !runtimemetrics.Known(limit) {
			return "no limit"
		}
		return fmt.Sprintf("%.0f MiB", limit/(1<<20))
	}
	s.Container.MemoryLimit = math.NaN()
	fmt.Println(describe(s.Container.MemoryLimit))
	s.Container.MemoryLimit = 512 << 20
	fmt.Println(describe(s.Container.MemoryLimit))
	// Output:
	// no limit
	// 512 MiB
}

func ExampleDistribution() {
	var d runtimemetrics.Distribution
	for range 99 {
		d.Observe(time.Millisecond)
	}
	d.Observe(time.Second)
	earlier := d
	d.Observe(time.Second)
	later := d.Since(&earlier)
	fmt.Println(d.Known(), d.Count(), later.Count())
	fmt.Println(d.Quantile(.5).Round(time.Millisecond), d.Quantile(1).Round(100*time.Millisecond), d.Sum().Round(time.Second))
	for end, n := range d.Buckets() {
		fmt.Println(n, "up to", end.Round(10*time.Microsecond))
	}
	// Output:
	// true 101 1
	// 1ms 1.1s 2s
	// 99 up to 1.05ms
	// 2 up to 1.07374s
}

func ExampleSampler_Last() {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	sampler := &runtimemetrics.Sampler{Interval: 10 * time.Millisecond, Probe: -1}
	sampler.Run(ctx)
	minute, ok := sampler.Last(time.Minute)
	latest, _ := sampler.Latest()
	fmt.Println(ok, minute.Interval > latest.Interval)
	// Output: true true
}

func ExampleSampler_Deltas() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	sampler := &runtimemetrics.Sampler{Interval: 10 * time.Millisecond, Keep: 3, Probe: -1}
	sampler.Run(ctx)
	var points []float64
	for d := range sampler.Deltas() {
		points = append(points, d.Now.Memory.Used)
	}
	fmt.Println(len(points), "points for a picture")
	// Output: 2 points for a picture
}

func ExampleSampler_Run() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	sampler := &runtimemetrics.Sampler{
		Interval: 20 * time.Millisecond,
		OnSample: func(d runtimemetrics.Delta) {
			if h := d.Headroom; h.Ratio < .1 {
				fmt.Printf("%.0f %% of the %s limit is used; reached in %v\n", 100*(1-h.Ratio), h.By, h.After)
			}
		},
	}
	sampler.Run(ctx) // blocks until ctx is done
	// Output:
}

func ExampleCollector() {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&runtimemetrics.Collector{})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	fmt.Println(strings.Contains(w.Body.String(), "go_schedule_duration_seconds_bucket"))
	// Output: true
}

func ExampleAll() {
	for _, d := range runtimemetrics.All() {
		if strings.HasPrefix(d.Name, "go_memory_gc_") {
			fmt.Println(d.Name, d.Kind, d.Unit)
		}
	}
	// Output:
	// go_memory_gc_cycles_total counter {gc_cycle}
	// go_memory_gc_goal_bytes gauge By
	// go_memory_gc_pause_duration_seconds histogram s
}
