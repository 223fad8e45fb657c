package runtimemetrics

import (
	"math"
	"runtime/metrics"
	"sync"
	"time"
)

// keys are the runtime's metrics in the order of the constants below.
var keys = [...]string{
	kSched:        "/sched/latencies:seconds",
	kGCPause:      "/sched/pauses/total/gc:seconds",
	kOtherPause:   "/sched/pauses/total/other:seconds",
	kMutex:        "/sync/mutex/wait/total:seconds",
	kProcs:        "/sched/gomaxprocs:threads",
	kGoroutines:   "/sched/goroutines:goroutines",
	kRunnable:     "/sched/goroutines/runnable:goroutines",
	kRunning:      "/sched/goroutines/running:goroutines",
	kWaiting:      "/sched/goroutines/waiting:goroutines",
	kNotInGo:      "/sched/goroutines/not-in-go:goroutines",
	kCreated:      "/sched/goroutines-created:goroutines",
	kThreads:      "/sched/threads/total:threads",
	kCPUTotal:     "/cpu/classes/total:cpu-seconds",
	kCPUUser:      "/cpu/classes/user:cpu-seconds",
	kCPUIdle:      "/cpu/classes/idle:cpu-seconds",
	kCPUGC:        "/cpu/classes/gc/total:cpu-seconds",
	kCPUAssist:    "/cpu/classes/gc/mark/assist:cpu-seconds",
	kCPUDedicated: "/cpu/classes/gc/mark/dedicated:cpu-seconds",
	kCPUGCIdle:    "/cpu/classes/gc/mark/idle:cpu-seconds",
	kCPUGCPause:   "/cpu/classes/gc/pause:cpu-seconds",
	kCPUScavenge:  "/cpu/classes/scavenge/total:cpu-seconds",
	kCycles:       "/gc/cycles/total:gc-cycles",
	kForced:       "/gc/cycles/forced:gc-cycles",
	kGOGC:         "/gc/gogc:percent",
	kLimiter:      "/gc/limiter/last-enabled:gc-cycle",
	kMemTotal:     "/memory/classes/total:bytes",
	kMemReleased:  "/memory/classes/heap/released:bytes",
	kMemStack:     "/memory/classes/heap/stacks:bytes",
	kMemObjects:   "/memory/classes/heap/objects:bytes",
	kMemFree:      "/memory/classes/heap/free:bytes",
	kMemUnused:    "/memory/classes/heap/unused:bytes",
	kHeapLive:     "/gc/heap/live:bytes",
	kHeapGoal:     "/gc/heap/goal:bytes",
	kMemLimit:     "/gc/gomemlimit:bytes",
	kAllocated:    "/gc/heap/allocs:bytes",
	kFreed:        "/gc/heap/frees:bytes",
	kAllocations:  "/gc/heap/allocs:objects",
}

const (
	kSched = iota
	kGCPause
	kOtherPause
	kMutex
	kProcs
	kGoroutines
	kRunnable
	kRunning
	kWaiting
	kNotInGo
	kCreated
	kThreads
	kCPUTotal
	kCPUUser
	kCPUIdle
	kCPUGC
	kCPUAssist
	kCPUDedicated
	kCPUGCIdle
	kCPUGCPause
	kCPUScavenge
	kCycles
	kForced
	kGOGC
	kLimiter
	kMemTotal
	kMemReleased
	kMemStack
	kMemObjects
	kMemFree
	kMemUnused
	kHeapLive
	kHeapGoal
	kMemLimit
	kAllocated
	kFreed
	kAllocations
)

// A reader fills snapshots without allocating. Its buffers make it a thing for
// one goroutine at a time; mu sees to that.
type reader struct {
	mu      sync.Mutex
	samples []metrics.Sample
	grids   [kMutex][]uint8 // of the histograms, which come first in keys
	system  systemReader
}

// newReader returns a reader. One that holds its files is for regular readings
// and is to be closed.
func newReader(hold bool) *reader {
	r := &reader{samples: make([]metrics.Sample, len(keys))}
	for i, name := range keys {
		r.samples[i].Name = name
	}
	r.system.hold = hold
	r.system.open("")
	return r
}

// read fills s, with the network's figures when asked. The wake-up probe is the
// Sampler's and stays unknown here.
func (r *reader) read(s *Snapshot, network bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Time = time.Now()
	r.runtime(s)
	r.system.read(s, network)
}

func (r *reader) runtime(s *Snapshot) {
	metrics.Read(r.samples)
	r.distribution(&s.SchedLatency, kSched)
	r.distribution(&s.GCPause, kGCPause)
	r.distribution(&s.OtherPause, kOtherPause)
	s.Wakeup = Distribution{unknown: true}
	s.SchedSampling = schedSampling()
	s.MutexWait = r.value(kMutex)
	s.Processors = r.value(kProcs)
	s.Goroutines = Goroutines{
		Total:    r.value(kGoroutines),
		Runnable: r.value(kRunnable),
		Running:  r.value(kRunning),
		Waiting:  r.value(kWaiting),
		NotInGo:  r.value(kNotInGo),
		Created:  r.value(kCreated),
	}
	s.CPU = CPU{
		Total:       r.value(kCPUTotal),
		User:        r.value(kCPUUser),
		Idle:        r.value(kCPUIdle),
		GC:          r.value(kCPUGC),
		GCAssist:    r.value(kCPUAssist),
		GCDedicated: r.value(kCPUDedicated),
		GCIdle:      r.value(kCPUGCIdle),
		GCPause:     r.value(kCPUGCPause),
		Scavenge:    r.value(kCPUScavenge),
	}
	s.GC = GC{
		Cycles:      r.value(kCycles),
		Forced:      r.value(kForced),
		Percent:     r.value(kGOGC),
		LimiterLast: r.value(kLimiter),
	}
	s.Memory = Memory{
		Used:  r.value(kMemTotal) - r.value(kMemReleased),
		Stack: r.value(kMemStack),
		Overhead: r.value(kMemTotal) - r.value(kMemReleased) - r.value(kMemObjects) -
			r.value(kMemFree) - r.value(kMemUnused) - r.value(kMemStack),
		HeapLive:    r.value(kHeapLive),
		HeapObjects: r.value(kMemObjects),
		HeapGoal:    r.value(kHeapGoal),
		Limit:       r.value(kMemLimit),
		Allocated:   r.value(kAllocated),
		Freed:       r.value(kFreed),
		Allocations: r.value(kAllocations),
	}
	s.Process = unknownProcess
	s.Process.Threads = r.value(kThreads) // the kernel's count, where there is one, replaces it
	s.Container = unknownContainer
	s.Host = unknownHost
}

func (r *reader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.system.close()
}

// missing lists what could not be read so far.
func (r *reader) missing() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, s := range r.samples {
		if s.Value.Kind() == metrics.KindBad {
			out = append(out, s.Name)
		}
	}
	return append(out, r.system.bad...)
}

// value returns sample i, unknown where this runtime does not have it. Values
// from 2^62 on are the runtime's way to say "no limit" (GOMEMLIMIT is 2^63-1
// when not set, GOGC 2^64-1 when off), so they are no figures either.
func (r *reader) value(i int) float64 {
	v := r.samples[i].Value
	switch v.Kind() {
	case metrics.KindUint64:
		if n := v.Uint64(); n < 1<<62 {
			return float64(n)
		}
	case metrics.KindFloat64:
		if f := v.Float64(); f >= 0 && f < math.MaxInt64 {
			return f
		}
	}
	return unknown
}

func (r *reader) distribution(d *Distribution, i int) {
	v := r.samples[i].Value
	if v.Kind() != metrics.KindFloat64Histogram {
		*d = Distribution{unknown: true}
		return
	}
	h := v.Float64Histogram()
	if len(r.grids[i]) != len(h.Counts) {
		r.grids[i] = gridOf(h.Buckets)
	}
	d.merge(h, r.grids[i])
}

var (
	unknownPressure = Pressure{unknown, unknown, unknown, unknown, unknown, unknown}
	unknownProcess  = Process{
		CPUUser: unknown, CPUSystem: unknown, RunDelay: unknown, Threads: unknown,
		VoluntarySwitches: unknown, ForcedSwitches: unknown, MajorFaults: unknown, MinorFaults: unknown,
		Resident: unknown, Virtual: unknown, Descriptors: unknown, DescriptorLimit: unknown,
		DiskRead: unknown, DiskWritten: unknown, NetworkReceived: unknown, NetworkTransmitted: unknown,
		SocketsInUse: unknown, SocketsTimeWait: unknown, SocketsOrphaned: unknown,
	}
	unknownContainer = Container{
		CPU: unknown, CPUUser: unknown, CPUSystem: unknown, CPULimit: unknown,
		Periods: unknown, ThrottledPeriods: unknown, Throttled: unknown,
		MemoryUsage: unknown, MemoryWorkingSet: unknown, MemoryRSS: unknown, MemoryLimit: unknown,
		OOMKills: unknown, Pressure: unknownPressure,
	}
	unknownHost = Host{
		CPUUser: unknown, CPUSystem: unknown, CPUIdle: unknown, CPUIOWait: unknown, CPUSteal: unknown,
		MemoryTotal: unknown, MemoryAvailable: unknown, Pressure: unknownPressure,
	}
)
