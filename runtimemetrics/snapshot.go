package runtimemetrics

import "time"

// A Snapshot is one reading of the process, its runtime and its surroundings.
// Counters count from the start of the process (of the cgroup, of the host),
// gauges hold for Time. Seconds and bytes are float64; a figure that could not
// be read is NaN, see [Known]. A Snapshot is a plain value of a few kilobytes
// and shares nothing.
type Snapshot struct {
	Time time.Time

	// SchedLatency is how long goroutines were ready before they ran. The
	// runtime records one transition in SchedSampling; quantiles need no
	// correction, counts and sums do.
	SchedLatency  Distribution
	SchedSampling float64

	GCPause    Distribution // stop-the-world pauses of the garbage collector
	OtherPause Distribution // stop-the-world pauses for anything else: profiles, GOMAXPROCS, ReadMemStats
	Wakeup     Distribution // lateness of the Sampler's probe; unknown in Read

	MutexWait  float64 // goroutine-seconds blocked on sync.Mutex, sync.RWMutex and runtime locks
	Processors float64 // GOMAXPROCS

	Goroutines Goroutines
	CPU        CPU
	GC         GC
	Memory     Memory
	Process    Process
	Container  Container
	Host       Host
}

// Goroutines counts goroutines by state. The states are counted one after the
// other, so they may not add up to Total.
type Goroutines struct {
	Total    float64
	Runnable float64 // ready, waiting for a processor
	Running  float64
	Waiting  float64 // on a channel, lock, timer, network
	NotInGo  float64 // in a system call or in C
	Created  float64 // since the start
}

// CPU is the runtime's account of CPU seconds, which it closes at the end of
// each GC cycle only: between cycles it stands still. Compare its parts with
// each other, and not with the operating system's account in [Process].
type CPU struct {
	Total       float64 // GOMAXPROCS integrated over time
	User        float64 // Go code, and all else that is not below
	Idle        float64
	GC          float64 // the four below together
	GCAssist    float64 // goroutines made to help because they allocate faster than the collector works
	GCDedicated float64
	GCIdle      float64 // processors that had nothing else to do
	GCPause     float64 // processors held still by the collector
	Scavenge    float64
}

// GC is the state of the garbage collector.
type GC struct {
	Cycles      float64 // completed
	Forced      float64 // completed because of runtime.GC or debug.FreeOSMemory
	Percent     float64 // GOGC; unknown when off
	LimiterLast float64 // the last cycle in which the CPU limiter was on; 0 is never
}

// Memory is what the runtime has from the operating system and what it does
// with it, in bytes.
type Memory struct {
	Used        float64 // all that the runtime holds: mapped minus returned
	Stack       float64 // of that, goroutine stacks
	Overhead    float64 // of that, what is neither heap nor goroutine stacks
	HeapLive    float64 // marked by the last GC cycle
	HeapObjects float64 // live and not yet swept
	HeapGoal    float64 // where the next cycle begins to end
	Limit       float64 // GOMEMLIMIT; unknown when not set
	Allocated   float64 // since the start
	Freed       float64 // since the start
	Allocations float64 // objects, since the start
}

// Process is the operating system's view of the process.
type Process struct {
	CPUUser           float64 // seconds
	CPUSystem         float64 // seconds
	RunDelay          float64 // seconds that threads were ready and the kernel ran something else
	Threads           float64
	VoluntarySwitches float64
	ForcedSwitches    float64 // the kernel took the CPU away
	MajorFaults       float64 // page faults that read a disk
	MinorFaults       float64
	Resident          float64 // bytes
	Virtual           float64 // bytes
	Descriptors       float64
	DescriptorLimit   float64
	DiskRead          float64 // bytes, from the block layer
	DiskWritten       float64 // bytes, to the block layer
	Started           time.Time

	// The network's figures are those of the network namespace. A Sampler
	// leaves them out: they cost as much as all the others.
	NetworkReceived    float64 // bytes, IP
	NetworkTransmitted float64 // bytes, IP
	SocketsInUse       float64 // TCP, IPv4 and IPv6
	SocketsTimeWait    float64 // TCP
	SocketsOrphaned    float64 // TCP
}

// Container is the process's cgroup, version 1 or 2. Everything is unknown
// outside a cgroup that accounts for it.
type Container struct {
	CPU              float64 // seconds used
	CPUUser          float64 // seconds
	CPUSystem        float64 // seconds
	CPULimit         float64 // cores; the least of the cgroup and those above it
	Periods          float64 // enforcement periods in which something ran
	ThrottledPeriods float64
	Throttled        float64 // seconds, summed over the cgroup's CPUs
	MemoryUsage      float64 // bytes, page cache included
	MemoryWorkingSet float64 // MemoryUsage without inactive file pages: what the OOM killer looks at
	MemoryRSS        float64 // anonymous memory
	MemoryLimit      float64 // bytes; the least of the cgroup and those above it
	OOMKills         float64
	Pressure         Pressure
}

// Host is the machine, or what the container's /proc shows of it.
type Host struct {
	CPUUser         float64 // seconds over all CPUs, nice included
	CPUSystem       float64 // interrupts included
	CPUIdle         float64
	CPUIOWait       float64
	CPUSteal        float64 // a hypervisor ran something else
	MemoryTotal     float64 // bytes
	MemoryAvailable float64 // bytes
	Pressure        Pressure
}

// Pressure is the kernel's pressure stall information: seconds in which some or
// all tasks waited for a resource.
type Pressure struct {
	CPUSome, CPUFull       float64
	MemorySome, MemoryFull float64
	IOSome, IOFull         float64
}

// Read takes one Snapshot. It finds the cgroup anew each time and allocates;
// who reads regularly uses a [Sampler]. Read may be called concurrently.
func Read() Snapshot {
	var s Snapshot
	newReader(false).read(&s, true)
	return s
}

// Since returns what happened between prev and s, two snapshots of the same
// process, prev the older.
func (s *Snapshot) Since(prev *Snapshot) Delta { return newDelta(prev, s) }
