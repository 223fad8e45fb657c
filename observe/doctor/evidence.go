package doctor

import (
	"time"
)

// Evidence is all that a diagnosis rests on: what happened in one interval, and
// what usually happens. It is plain data; Diagnose neither keeps nor changes it.
type Evidence struct {
	Now Window
	// Usual is what happened in the healthy intervals before, added up: counts and
	// seconds are sums over its Interval, gauges are means. A zero Interval means
	// that nothing is known of the time before.
	Usual Window
	// Running is how long the process has been running.
	Running time.Duration
}

// Window is what happened in one interval. Counts and seconds are those of the
// interval, not since the start and not per second. What is not known is NaN in
// a number and empty in a list.
type Window struct {
	Time     time.Time // when the interval ended
	Interval time.Duration

	Runtime      Runtime
	InFlight     float64 // requests under way, the mean over the interval
	Routes       []Route
	Dependencies []Dependency
	Pools        []Pool
	Queries      []Query
	Jobs         []Job
	Queues       []Queue
	Caches       []Cache
	Leaks        []Leak
	Losses       []Loss
	Sites        []Site // from targeted profiles; empty while none was asked for, see Report.Wants
}

// Runtime is the process, its Go runtime and what surrounds it. Rates are per
// second, shares 0 to 1, and "goroutine-seconds per second" is the mean number of
// goroutines that were doing it.
type Runtime struct {
	Processors float64 // GOMAXPROCS
	CPUs       float64 // that the host has
	CPULimit   float64 // of the cgroup, in cores
	CPU        float64 // cores used by this process

	SchedWait float64 // goroutine-seconds per second ready and not running
	SchedMean float64 // seconds, the mean of those waits that the runtime recorded
	SchedP99  float64 // seconds
	// How late a sleeper wakes, in seconds. The mean is what each wait adds to the mean
	// of what waits; the kernel's own stalls are in it, which no scheduler's figure shows.
	WakeupMean float64
	WakeupP50  float64
	WakeupP99  float64
	MutexWait  float64 // goroutine-seconds per second

	GCShare        float64 // of the processors, without what it did on idle ones
	GCAssist       float64 // goroutine-seconds per second
	GCPerSecond    float64
	ForcedGC       float64 // cycles per second
	PauseShare     float64 // of the time, the world was stopped, by anybody
	GCLimited      bool    // the collector's CPU limiter was on: it took half of the CPU
	HeapHeldDown   bool    // GOMEMLIMIT, not GOGC, sets the goal
	AllocatedBytes float64 // per second

	Throttled      float64 // seconds per second, over all CPUs of the cgroup
	ThrottledShare float64 // of the enforcement periods
	RunDelay       float64 // thread-seconds per second that the kernel ran something else
	HostBusy       float64 // share of the host's CPUs, by anybody
	HostOwn        float64 // share of the host's CPUs, by this process
	Steal          float64 // share of the host's CPUs
	CPUPressure    float64 // share of the time that some task of the host waited for a CPU
	IOPressure     float64 // share of the time that some task of the cgroup, else of the host, waited for a disk

	MemoryFree  float64       // share of the nearest limit
	MemoryBy    string        // which limit: cgroup, gomemlimit or host
	MemoryAfter time.Duration // until it is reached at the present growth; 0: it is not, or not known
	HeapLive    float64       // bytes, after the last collection
	HeapBefore  float64       // HeapLive before the collections of the interval; without one, before those of the last interval that had some
	HeapRoom    float64       // bytes until the nearest limit

	Goroutines        float64
	GoroutinesBefore  float64 // at the beginning of the interval
	Streams           float64 // requests that are streams and are open at the end of the interval
	StreamsBefore     float64
	Created           float64 // goroutines per second
	NotInGo           float64 // goroutines in system calls and in C
	Threads           float64
	Descriptors       float64
	DescriptorsBefore float64
	DescriptorMax     float64
}

// Route is the requests of one route that ended in the interval.
type Route struct {
	Route    string // "GET /orders/{id}"
	Requests float64
	Errors   float64 // status 500 and above, panics among them
	Panics   float64
	Canceled float64 // the client went away
	Seconds  float64 // their time
	P50, P99 float64 // seconds; 0: none ended

	// Parts are the seconds that the requests waited for something known; waits
	// beside each other count in each, and once in Waited.
	Parts  []Part
	Waited float64 // seconds in which at least one part was under way

	CPU      float64 // cores, by the last CPU profile
	Repeated float64 // requests that ran one query too often
	Query    string  // which one
}

// Part is one dependency's or pool's share of a route's time.
type Part struct {
	Name    string // of the Dependency
	Calls   float64
	Errors  float64
	Seconds float64
}

// Dependency is what the service called: a host, a database, a queue's server.
type Dependency struct {
	Name    string // "payments:443", "orders"
	Kind    string // http, db, rpc, messaging or other
	Calls   float64
	Errors  float64
	Seconds float64
	P50     float64
	P99     float64

	Active      float64 // calls under way, the mean over the interval or what it was at its end
	Retries     float64 // calls that repeat one that failed
	Connections float64 // opened; calls that went over a connection of before are the rest
	Connecting  float64 // seconds of looking up, connecting and TLS
	Waiting     float64 // seconds from wanting a connection to having one, Connecting among them where it was opened for that
}

// Pool is a pool of database connections.
type Pool struct {
	Name        string  // that of its Dependency
	Max         float64 // 0: without limit
	InUse       float64 // mean
	Pending     float64 // goroutines that wait at the end of the interval
	Waits       float64
	WaitSeconds float64
	Open        float64 // connections, in use or idle, at the end of the interval
	Opened      float64 // connections that were opened in the interval
	Timeouts    float64
	Unclosed    float64 // rows and transactions left alone
}

// Query is the statements of one summary.
type Query struct {
	Pool    string
	Summary string // "SELECT orders"
	Calls   float64
	Errors  float64
	Seconds float64
}

// Job is the runs of one job.
type Job struct {
	Job         string
	Runs        float64
	Errors      float64
	Seconds     float64
	WaitSeconds float64 // in the queue, before they ran
	Active      float64
	CPU         float64 // cores, by the last CPU profile
	Overdue     float64 // seconds
}

// Queue is a queue that the program watches.
type Queue struct {
	Queue    string
	Length   float64 // at the end of the interval
	Before   float64 // at its beginning
	Capacity float64 // 0: without limit
	Oldest   float64 // seconds the oldest item has waited
	Added    float64
	Taken    float64
	Blocked  float64 // goroutine-seconds that senders waited for room
}

// Cache is a cache that the program watches.
type Cache struct {
	Cache       string
	Hits        float64
	Misses      float64
	Stampedes   float64
	LoadSeconds float64
}

// Leak is something that only grows.
type Leak struct {
	Kind       string // goroutine, heap, file, socket, close_wait, pipe, descriptor, rows, tx, body
	Site       string // "shop.(*Hub).join (hub.go:41)"
	Count      float64
	PerHour    float64 // of the count, for heap of bytes
	Confidence float64
	After      time.Duration // until it exhausts something; 0: not known
}

// Loss is telemetry that was lost.
type Loss struct {
	Signal string // traces, metrics, logs, profiles
	Reason string
	Count  float64
	Of     float64 // what there was of the signal; 0: not known
}

// Site is a place in the program, found by a targeted profile.
type Site struct {
	Kind     SiteKind
	Function string // "shop.(*Cart).total (cart.go:88)": the program's own, not the library's it calls
	Route    string // where it is known
	// Weight is goroutine-seconds per second for waits, cores for CPU and bytes per
	// second for allocations.
	Weight float64
	Detail string // what is waited for, or who holds it: "held by shop.flush (log.go:12)"
}

// SiteKind says what a Site does.
type SiteKind string

// What goroutines of requests and jobs were doing. Waits are seen in samples of
// all goroutines' stacks.
const (
	OnCPU     SiteKind = "cpu"
	Allocates SiteKind = "alloc"
	Lock      SiteKind = "lock"      // waits for a sync.Mutex or sync.RWMutex
	LockIO    SiteKind = "lock_io"   // holds a contended lock, and waits for something itself
	LogLock   SiteKind = "log_lock"  // waits for the lock of a logger
	LockElse  SiteKind = "lock_else" // waits for a lock in a goroutine of no request or job
	Channel   SiteKind = "channel"   // waits for a channel, select, condition or wait group
	Paced     SiteKind = "paced"     // waits for a channel until a timer ends it, as a sleep that heeds its context does; the weight is the share of its waits
	PoolWait  SiteKind = "pool"      // waits in database/sql for a connection
	Syscall   SiteKind = "syscall"   // is in a system call or in C
	Disk      SiteKind = "disk"      // is in a system call on a file
	Sleep     SiteKind = "sleep"     // time.Sleep, or a timer
	Network   SiteKind = "network"   // waits for a connection that no wrapper sees
	Client    SiteKind = "client"    // waits for the client of the request, to read or to write
	Call      SiteKind = "call"      // is in a call that a wrapper sees
	Asks      SiteKind = "asks"      // is in such a call, in a function in which others wait for a channel
	Timers    SiteKind = "timers"    // CPU of the runtime's timers
	Scheduler SiteKind = "scheduler" // CPU of the runtime's scheduler
	Holds     SiteKind = "holds"     // allocated what is live and was not at an earlier look, in bytes per second
	Stays     SiteKind = "stays"     // is a goroutine of no request or job; the weight is how many
)
