package benchmarks

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// measure runs one operation after the other.
func measure(b *testing.B, operation func()) {
	operation() // what happens once, at the first
	b.ReportAllocs()
	runtime.GC()
	begin := exported.Load()
	start := cpuTime()
	for b.Loop() {
		operation()
	}
	report(b, start, begin)
}

// measureParallel runs an operation on GOMAXPROCS goroutines, each with its own.
func measureParallel(b *testing.B, newOperation func() func()) {
	newOperation()()
	b.ReportAllocs()
	runtime.GC()
	begin := exported.Load()
	start := cpuTime()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		operation := newOperation()
		for pb.Next() {
			operation()
		}
	})
	report(b, start, begin)
}

// report adds the CPU time and, where there were any, the spans exported
// meanwhile: as many as there should be, or else the figure is that of dropping.
func report(b *testing.B, start time.Duration, begin int64) {
	b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op")
	if n := exported.Load() - begin; n > 0 {
		b.ReportMetric(float64(n)/float64(b.N), "spans/op")
	}
}

// cpuTime is the CPU time of the process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
