package console

import (
	"math"
	"math/bits"
	"time"

	"github.com/loadline-go/loadline/runtimemetrics"
)

// runtimeFields are the figures of the runtime that are kept, under the names
// that the page knows. Times are seconds, sizes bytes, shares 0 to 1.
var runtimeFields = []struct {
	name string
	of   func(*runtimemetrics.Delta) float64
}{
	{"sched_p50", func(d *runtimemetrics.Delta) float64 { return sec(d.SchedP50) }},
	{"sched_p95", func(d *runtimemetrics.Delta) float64 { return sec(d.SchedP95) }},
	{"sched_p99", func(d *runtimemetrics.Delta) float64 { return sec(d.SchedP99) }},
	{"sched_wait", func(d *runtimemetrics.Delta) float64 { return d.SchedWait }},
	{"wakeup_p50", func(d *runtimemetrics.Delta) float64 { return sec(d.WakeupP50) }},
	{"wakeup_p99", func(d *runtimemetrics.Delta) float64 { return sec(d.WakeupP99) }},
	{"mutex_wait", func(d *runtimemetrics.Delta) float64 { return d.MutexWait }},
	{"gc_share", func(d *runtimemetrics.Delta) float64 { return d.GCShare }},
	{"gc_assist", func(d *runtimemetrics.Delta) float64 { return d.GCAssist }},
	{"gc_cycles", func(d *runtimemetrics.Delta) float64 { return d.GCPerSecond }},
	{"gc_pause_p99", func(d *runtimemetrics.Delta) float64 { return sec(d.GCPauseP99) }},
	{"allocated", func(d *runtimemetrics.Delta) float64 { return d.AllocatedPerSecond }},
	{"cpu_user", func(d *runtimemetrics.Delta) float64 { return d.CPUUser }},
	{"cpu_system", func(d *runtimemetrics.Delta) float64 { return d.CPUSystem }},
	{"processors", func(d *runtimemetrics.Delta) float64 { return d.Now.Processors }},
	{"cpu_limit", func(d *runtimemetrics.Delta) float64 { return d.Now.Container.CPULimit }},
	{"throttled", func(d *runtimemetrics.Delta) float64 { return d.ThrottledShare }},
	{"run_delay", func(d *runtimemetrics.Delta) float64 { return d.RunDelay }},
	{"host_busy", func(d *runtimemetrics.Delta) float64 { return d.HostBusyShare }},
	{"steal", func(d *runtimemetrics.Delta) float64 { return d.StealShare }},
	{"heap_live", func(d *runtimemetrics.Delta) float64 { return d.Now.Memory.HeapLive }},
	{"heap_objects", func(d *runtimemetrics.Delta) float64 { return d.Now.Memory.HeapObjects }},
	{"heap_goal", func(d *runtimemetrics.Delta) float64 { return d.Now.Memory.HeapGoal }},
	{"memory_used", func(d *runtimemetrics.Delta) float64 { return d.Headroom.Used }},
	{"memory_limit", func(d *runtimemetrics.Delta) float64 { return d.Headroom.Limit }},
	{"memory_go", func(d *runtimemetrics.Delta) float64 { return d.Now.Memory.Used }},
	{"stacks", func(d *runtimemetrics.Delta) float64 { return d.Now.Memory.Stack }},
	{"goroutines", func(d *runtimemetrics.Delta) float64 { return d.Now.Goroutines.Total }},
	{"runnable", func(d *runtimemetrics.Delta) float64 { return d.Now.Goroutines.Runnable }},
	{"running", func(d *runtimemetrics.Delta) float64 { return d.Now.Goroutines.Running }},
	{"waiting", func(d *runtimemetrics.Delta) float64 { return d.Now.Goroutines.Waiting }},
	{"not_in_go", func(d *runtimemetrics.Delta) float64 { return d.Now.Goroutines.NotInGo }},
	{"created", func(d *runtimemetrics.Delta) float64 { return d.GoroutinesPerSecond }},
	{"threads", func(d *runtimemetrics.Delta) float64 { return d.Now.Process.Threads }},
	{"descriptors", func(d *runtimemetrics.Delta) float64 { return d.Now.Process.Descriptors }},
}

// The rows of the heat map of the scheduler's latency: what took less than 1 us,
// and two to each power of two up to 17 s, at the bounds of the runtime's own
// buckets.
const (
	schedFirst = 10 // 2^10 ns
	schedRows  = 1 + 2*(34-schedFirst)
)

// schedBounds are where the rows begin, in seconds.
var schedBounds = func() (all [schedRows]float64) {
	for i := 1; i < schedRows; i++ {
		all[i] = math.Ldexp(1+float64((i-1)%2)/2, schedFirst+(i-1)/2) / 1e9
	}
	return all
}()

// schedHeat is the heat of each row, as heatOf has it: n for counts from 2^(n-1)
// to below 2^n.
func schedHeat(d *runtimemetrics.Distribution) (heat [schedRows]uint8) {
	var rows [schedRows]uint64
	for end, n := range d.Buckets() {
		rows[schedRow(end-1)] += n
	}
	for i, n := range rows {
		heat[i] = uint8(bits.Len64(n))
	}
	return heat
}

func schedRow(d time.Duration) int {
	octave := bits.Len64(uint64(d)) - 1
	if octave < schedFirst {
		return 0
	}
	return min(1+2*(octave-schedFirst)+int(d>>(octave-1)&1), schedRows-1)
}

func sec(d time.Duration) float64 { return d.Seconds() }
