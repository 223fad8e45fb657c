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
	start := cpuTime()
	for b.Loop() {
		operation()
	}
	b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op")
}

// measureParallel runs an operation on GOMAXPROCS goroutines, each with its own.
func measureParallel(b *testing.B, newOperation func() func()) {
	newOperation()()
	b.ReportAllocs()
	runtime.GC()
	start := cpuTime()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		operation := newOperation()
		for pb.Next() {
			operation()
		}
	})
	b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op")
}

// cpuTime is the CPU time of the process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
