package runtimemetrics

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// near retries a measurement on real load until it is within tolerance of what
// theory says: a machine that does other things too spoils a try. Later tries
// count with the earlier ones, so that each also makes the figure more precise.
func near(t *testing.T, what string, want, tolerance float64, measure func() float64) {
	t.Helper()
	var got, sum float64
	for try := range 12 {
		one := measure()
		sum += one
		for _, got = range []float64{one, sum / float64(try+1)} {
			if got > want*(1-tolerance) && got < want*(1+tolerance) {
				t.Logf("%s: %.3g, in theory %.3g", what, got, want)
				return
			}
		}
	}
	t.Errorf("%s: %.3g, in theory %.3g", what, got, want)
}

// during measures an interval while n goroutines run f until stop is true.
func during(n int, length time.Duration, f func(stop *atomic.Bool)) Delta {
	var stop atomic.Bool
	var group sync.WaitGroup
	for range n {
		group.Go(func() { f(&stop) })
	}
	time.Sleep(length / 5) // until all run
	before := Read()
	time.Sleep(length)
	after := Read()
	stop.Store(true)
	group.Wait()
	return after.Since(&before)
}

func TestSchedWaitIsTheNumberOfGoroutinesWithoutAProcessor(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second of all processors")
	}
	procs := runtime.GOMAXPROCS(0)
	n := 5 * procs
	for name, f := range map[string]func(*atomic.Bool){
		// Preempted after 10 ms, which makes a dozen records a second of each.
		"spinning": func(stop *atomic.Bool) {
			for !stop.Load() {
			}
		},
		"yielding": func(stop *atomic.Bool) {
			for i := 0; !stop.Load(); i++ {
				if i%100_000 == 0 {
					runtime.Gosched()
				}
			}
		},
	} {
		near(t, "SchedWait "+name, float64(n-procs), .15, func() float64 {
			return during(n, 700*time.Millisecond, f).SchedWait
		})
	}
}

func TestMutexWaitIsTheLengthOfTheConvoy(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	const n = 9
	near(t, "MutexWait", n-1, .15, func() float64 {
		var mu sync.Mutex
		return during(n, 800*time.Millisecond, func(stop *atomic.Bool) {
			for !stop.Load() {
				mu.Lock()
				time.Sleep(time.Millisecond)
				mu.Unlock()
			}
		}).MutexWait
	})
}

func TestSamplingFactorIsTheRuntimesPeriod(t *testing.T) {
	// True of every runtime so far; a failure here is news, and the factor that
	// was measured is the one to believe.
	if got := schedSampling(); got != knownSampling {
		t.Errorf("one transition in %v is recorded, %d was known", got, knownSampling)
	}
}

func TestSamplingFactorSurvivesNoise(t *testing.T) {
	for _, c := range []struct {
		name     string
		recorded []uint64
		want     float64
	}{
		{"quiet", []uint64{16, 16, 16, 16}, 8},
		{"quiet twice", []uint64{90, 16, 40, 17, 300}, 8},
		{"always busy", []uint64{30, 41, 29, 55}, knownSampling},
		{"busy to the point of another factor", []uint64{32, 41, 35, 55}, knownSampling},
		{"another factor", []uint64{8, 8, 9, 8}, 16},
		{"every transition", []uint64{128, 129, 128}, 1},
		{"nothing recorded", []uint64{0, 0, 0}, knownSampling},
		{"one round", []uint64{64}, knownSampling},
		{"no round", nil, knownSampling},
	} {
		if got := samplingOf(128, c.recorded); got != c.want {
			t.Errorf("%s: a factor of %v, want %v", c.name, got, c.want)
		}
	}
}

// Whatever else runs, the factor is the true one, and found in bounded time.
func TestSamplingFactorIsFoundUnderLoad(t *testing.T) {
	var stop atomic.Bool
	var group sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for !stop.Load() {
				runtime.Gosched()
			}
		})
	}
	defer group.Wait()
	defer stop.Store(true)
	if got := measureSampling(); got != knownSampling {
		t.Errorf("one transition in %v is recorded under load, %d was known", got, knownSampling)
	}
}
