package runtimemetrics

import (
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
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
// many of them the runtime recorded. Rounds during which others were ready to
// run do not count. It takes about 0.1 ms; where yields take long it gives up
// after 3 ms and a turn of the run queue.
func measureSampling() float64 {
	const (
		rounds = 8
		yields = 128 // 16 records at one in eight
		budget = 3 * time.Millisecond
	)
	sample := []metrics.Sample{{Name: keys[kSched]}, {Name: keys[kRunnable]}}
	count := func() (n uint64, quiet bool) {
		metrics.Read(sample)
		if sample[0].Value.Kind() != metrics.KindFloat64Histogram || sample[1].Value.Kind() != metrics.KindUint64 {
			return 0, false
		}
		for _, c := range sample[0].Value.Float64Histogram().Counts {
			n += c
		}
		return n, sample[1].Value.Uint64() == 0
	}
	begin := time.Now()
	var recorded []uint64
	for range rounds {
		before, quiet := count()
		if !quiet {
			continue
		}
		for range yields {
			runtime.Gosched()
			if time.Since(begin) > budget {
				return samplingOf(yields, recorded)
			}
		}
		if after, quiet := count(); quiet {
			recorded = append(recorded, after-before)
		}
	}
	return samplingOf(yields, recorded)
}

// samplingOf turns the records of each round into a factor. The runtime counts
// each goroutine's own transitions, so a quiet round gives the same number each
// time, and other goroutines only ever add to it. Where the two least rounds do
// not agree with each other and with a power of two, nothing was learned.
func samplingOf(yields int, recorded []uint64) float64 {
	if len(recorded) < 2 {
		return knownSampling
	}
	slices.Sort(recorded)
	least, next := float64(recorded[0]), float64(recorded[1])
	if least == 0 {
		return knownSampling
	}
	factor := math.Exp2(math.Round(math.Log2(float64(yields) / least)))
	if factor < 1 || next-least > 1 || math.Abs(least-float64(yields)/factor) > 1 {
		return knownSampling
	}
	return factor
}
