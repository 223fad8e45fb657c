package runtimemetrics

import (
	"math"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

// knownSampling is gTrackingPeriod of runtime/proc.go, which has been 8 since
// Go 1.17: of the moments at which a goroutine stops running, one in eight
// starts the clock that ends in /sched/latencies:seconds.
const knownSampling = 8

// schedSampling returns how many transitions stand behind one that the runtime
// records. It is measured once, since it is the runtime's private constant and
// what it applies to has changed before (golang/go#79391).
var schedSampling = sync.OnceValue(measureSampling)

// measureSampling yields the processor a known number of times and looks how
// many of them the runtime recorded. Other goroutines only ever add records, so
// the round with the fewest is the truest, and a busy process, in which no
// round is quiet or the yields take long, falls back to knownSampling. It takes
// about 0.1 ms, and at most 3 ms plus one turn of the run queue.
func measureSampling() float64 {
	const (
		rounds = 8
		yields = 128 // 16 records a round at one in eight: half a record off is 3 %
		budget = 3 * time.Millisecond
	)
	sample := []metrics.Sample{{Name: keys[kSched]}}
	count := func() (n uint64, ok bool) {
		metrics.Read(sample)
		if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
			return 0, false
		}
		for _, c := range sample[0].Value.Float64Histogram().Counts {
			n += c
		}
		return n, true
	}
	begin := time.Now()
	fewest := uint64(math.MaxUint64)
	for range rounds {
		before, ok := count()
		if !ok {
			return knownSampling
		}
		for range yields {
			runtime.Gosched()
			if time.Since(begin) > budget {
				return samplingOf(yields, fewest)
			}
		}
		after, _ := count()
		fewest = min(fewest, after-before)
	}
	return samplingOf(yields, fewest)
}

// samplingOf turns the fewest records of a round into a factor. The runtime
// divides by powers of two, and up to 40 % of noise rounds to the right one.
func samplingOf(yields int, fewest uint64) float64 {
	if fewest == 0 || fewest == math.MaxUint64 {
		return knownSampling
	}
	factor := math.Exp2(math.Round(math.Log2(float64(yields) / float64(fewest))))
	if factor < 1 || factor > 1024 {
		return knownSampling
	}
	return factor
}
