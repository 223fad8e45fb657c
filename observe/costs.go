package observe

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/runtimemetrics"
)

const (
	// What the runtime's signal handler takes for a sample, which it does not
	// tell: a guess on the safe side, for a deep stack that is unwound and copied.
	sampleCost = 10 * time.Microsecond
	// The runtime writes a CPU profile, with names and compressed, on a goroutine
	// of its own: that took 4 to 5 times as long as reading it (2.6 to 2.9 ms and 0.5
	// to 0.6 ms for 240 samples).
	writingCost = 5
	// The CPU profile may have half of the budget, each of the others a tenth.
	cpuPart, otherPart = 0.5, 0.1
)

// costs counts what profiling itself takes, and paces it by that.
type costs struct {
	counted *vec[prometheus.Counter]
	budget  float64        // share of the CPU time that the process may use
	cpus    func() float64 // that many processors
}

// add counts the CPU time that a profile took and returns how long after its
// beginning the next of its kind may begin, so that the budget is kept.
func (c *costs) add(kind string, took time.Duration) (next time.Duration) {
	n, _ := c.counted.with(kind)
	n.Add(took.Seconds())
	part := otherPart
	if kind == "cpu" {
		part = cpuPart
	}
	// Beyond an hour nobody would believe that the service is profiled.
	return min(time.Hour, time.Duration(float64(took)/(part*c.budget*c.cpus())))
}

// cpusOf returns how many processors' time the process may use.
func cpusOf(s *runtimemetrics.Sampler) float64 {
	n := float64(runtime.GOMAXPROCS(0))
	if d, ok := s.Latest(); ok && d.Now.Container.CPULimit > 0 { // false when it is unknown
		n = min(n, d.Now.Container.CPULimit)
	}
	return n
}

// threadCost returns how much CPU time f takes, as far as it works on its own goroutine.
func threadCost(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := threadTime()
	f()
	return max(0, threadTime()-began)
}
