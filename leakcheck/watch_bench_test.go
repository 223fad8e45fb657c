package leakcheck

import (
	"fmt"
	"math"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// BenchmarkWatch is what one window costs, with a default Config, in a program
// of so many goroutines and so much heap. It reports the share of a processor
// that one window a minute takes, stretched as Watch says, and the worst pause
// that is not the garbage collector's.
func BenchmarkWatch(b *testing.B) {
	for _, size := range []struct{ goroutines, heap int }{{100, 64 << 20}, {1000, 64 << 20}, {10_000, 1 << 30}, {100_000, 1 << 30}} {
		b.Run(fmt.Sprintf("goroutines=%d/heap=%dMiB", size.goroutines, size.heap>>20), func(b *testing.B) {
			kept := make([][]byte, 0, size.heap>>14)
			for range size.heap >> 14 {
				kept = append(kept, make([]byte, 1<<14))
			}
			c := make(chan bool)
			for range size.goroutines {
				go block(c)
			}
			for runtime.NumGoroutine() < size.goroutines {
				runtime.Gosched()
			}
			var last Look
			dumps := 0
			w := newWatcher(Config{Looked: func(l Look) {
				if last = l; l.Pause > 0 {
					dumps++
				}
			}}, nil, time.Now())
			at := time.Now()
			w.window(at)
			dumps = 0
			var cost time.Duration
			before := otherPauses()
			for b.Loop() {
				runtime.GC() // a window that can look at the heap
				next := max(last.Next, time.Minute)
				begin := time.Now()
				w.window(at.Add(next))
				cost += time.Since(begin)
				at = at.Add(next)
			}
			b.ReportMetric(float64(cost.Milliseconds())/float64(b.N), "ms/window")
			b.ReportMetric(100*cost.Seconds()/float64(b.N)/last.Next.Seconds(), "%core")
			b.ReportMetric(1000*worstSince(before, otherPauses()), "ms-worst-pause")
			b.ReportMetric(float64(dumps)/float64(b.N), "dumps/window")
			b.ReportMetric(last.Next.Minutes(), "min/window")
			close(c)
			runtime.KeepAlive(kept)
		})
	}
}

func otherPauses() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/total/other:seconds"}}
	metrics.Read(s)
	h := *s[0].Value.Float64Histogram()
	h.Counts = append([]uint64(nil), h.Counts...)
	return &h
}

// worstSince returns the upper bound of the highest bucket that was hit.
func worstSince(before, after *metrics.Float64Histogram) (worst float64) {
	for i, n := range after.Counts {
		if n > before.Counts[i] && !math.IsInf(after.Buckets[i+1], 1) {
			worst = after.Buckets[i+1]
		}
	}
	return worst
}
