package doctor

// The illnesses that Diagnose knows.
const (
	CPUSaturated      Cause = "cpu-saturated"
	CPUBurner         Cause = "cpu-burner"
	CPUThrottled      Cause = "cpu-throttled"
	NoisyNeighbour    Cause = "noisy-neighbour"
	GOMAXPROCSWrong   Cause = "gomaxprocs-wrong"
	GCAllocation      Cause = "gc-allocation"
	GCMemoryLimit     Cause = "gc-memory-limit"
	GCForced          Cause = "gc-forced"
	StopTheWorld      Cause = "stop-the-world"
	LockContention    Cause = "lock-contention"
	LockHeldIO        Cause = "lock-held-io"
	Backpressure      Cause = "backpressure"
	BlockingSyscalls  Cause = "blocking-syscalls"
	DiskStall         Cause = "disk-stall"
	LoggingLock       Cause = "logging-lock"
	TimerStorm        Cause = "timer-storm"
	PoolExhausted     Cause = "pool-exhausted"
	DatabaseSlow      Cause = "database-slow"
	SlowQuery         Cause = "slow-query"
	RepeatedQueries   Cause = "n-plus-one"
	DependencySlow    Cause = "dependency-slow"
	DependencyFailing Cause = "dependency-failing"
	RetryStorm        Cause = "retry-storm"
	ConnectionChurn   Cause = "connection-churn"
	CacheCollapse     Cause = "cache-collapse"
	QueueGrowing      Cause = "queue-growing"
	QueueStalled      Cause = "queue-stalled"
	TrafficSurge      Cause = "traffic-surge"
	SlowRoute         Cause = "slow-route"
	RouteFailing      Cause = "route-failing"
	PanicLoop         Cause = "panic-loop"
	GoroutineLeak     Cause = "goroutine-leak"
	HeapLeak          Cause = "heap-leak"
	DescriptorLeak    Cause = "descriptor-leak"
	ConnectionLeak    Cause = "connection-leak"
	MemoryNearLimit   Cause = "memory-near-limit"
	SlowClients       Cause = "slow-clients"
	TelemetryLoss     Cause = "telemetry-loss"
)

// An Illness is what there is to know about a Cause.
type Illness struct {
	Cause       Cause
	Title       string
	Mechanism   string // how it makes requests slow or fail
	Proof       string // which figures show it
	Confounders string // what looks like it, and how they are told apart
	Remedy      string // for Finding.Remedy
	Next        string // for Finding.Next; %s stands for the subject
}

// Causes lists every illness that Diagnose can name, in the order of the page
// CAUSES.md, which is made from it.
func Causes() []Illness { return illnesses }

var illnesses = []Illness{
	{CPUThrottled, "Throttled by the cgroup",
		"The container used its CPU quota before the period of 100 ms was over, and the kernel stopped all of its threads until the next.",
		"Throttled periods and seconds of the cgroup, while goroutines wait to run. The process's own CPU use looks low.",
		"A noisy neighbour has no throttled periods. With more GOMAXPROCS than quota and average use below it, the bursts are the cause: gomaxprocs-wrong.",
		"Raise the CPU limit, remove it, or take CPU from the code; leave GOMAXPROCS to the runtime.",
		"cat /sys/fs/cgroup/cpu.stat; curl ADMIN/debug/profiles"},
	{GOMAXPROCSWrong, "GOMAXPROCS does not fit the processors",
		"Too few: goroutines queue while processors idle. Too many for the quota: all run at once, spend the quota early and are stopped together.",
		"All of GOMAXPROCS busy while the host is not; or throttled periods at a mean use below the quota, with GOMAXPROCS well above it.",
		"Saturation has no idle processor that the process may use.",
		"Do not set GOMAXPROCS: since Go 1.25 the runtime takes it from the quota.",
		"env | grep GOMAXPROCS; grep -rn GOMAXPROCS ."},
	{NoisyNeighbour, "Starved by a neighbour",
		"Something else on the host takes the processors: threads of this process are ready and the kernel runs others.",
		"Run delay of the threads, steal, and a busy host whose load is not this process's; goroutines wait to run while own CPU use is low.",
		"Throttling has throttled periods. Saturation is this process's own CPU.",
		"Move the service or the neighbour, or give both CPU requests that hold.",
		"top -o %%CPU; cat /proc/pressure/cpu"},
	{CPUSaturated, "CPU saturated by demand",
		"All routes compute more than they did, or there is more to compute than processors and each goroutine queues before each step.",
		"CPU near the capacity and goroutines that wait to run, or CPU that rose by what requests take longer; no route or job took most of the rise.",
		"One route or job with most of the CPU is cpu-burner; more requests than usual are traffic-surge.",
		"Scale out, or make the hottest code cheaper.",
		"curl ADMIN/debug/profiles"},
	{CPUBurner, "CPU burnt by one route or job",
		"One piece of code computes so much that it slows itself, and on few processors everybody.",
		"CPU profile by route and job: most of the rise is one's.",
		"The collector's work is gc-allocation, timers' is timer-storm. A job beside healthy requests is no finding.",
		"Make the function cheaper, limit how many run at once, or move it to a worker.",
		"go tool pprof ADMIN/debug/pprof/profile?seconds=10"},
	{TrafficSurge, "Traffic beyond capacity",
		"More requests arrive than processors can serve, and queue.",
		"Requests per second well above usual at the usual CPU per request, with goroutines that wait to run.",
		"Retries of clients look like traffic. At higher CPU per request the code changed: cpu-saturated.",
		"Scale out; shed load early: observe.Saturation makes readiness fail before latency does.",
		"curl ADMIN/debug/requests"},
	{TimerStorm, "Timer storm",
		"So many timers and tickers fire that the runtime's timers and wake-ups take the processors.",
		"CPU of the runtime's timers, with goroutines that wait to run, and requests that are slower.",
		"A long run queue alone harms nobody.",
		"One ticker for many items; time.AfterFunc instead of goroutines that sleep.",
		"go tool pprof ADMIN/debug/pprof/profile?seconds=10"},
	{GCAllocation, "GC by allocation",
		"The program allocates so fast that collecting takes the processors, and allocating goroutines are made to help.",
		"The collector's share of CPU and assists above usual, at a high allocation rate.",
		"Many cycles at a modest rate are the memory limit's; cycles by runtime.GC are forced.",
		"Allocate less at the named place; raise GOGC where there is memory.",
		"go tool pprof -sample_index=alloc_space ADMIN/debug/pprof/allocs"},
	{GCMemoryLimit, "GC death spiral at the memory limit",
		"The live heap is so near GOMEMLIMIT that a cycle frees little and the next begins at once.",
		"Many cycles a second while GOMEMLIMIT sets the goal, or the collector's CPU limiter on.",
		"gc-allocation has the goal of GOGC.",
		"Raise GOMEMLIMIT with the container's limit, or hold less.",
		"go tool pprof ADMIN/debug/pprof/heap"},
	{GCForced, "Forced GC",
		"Somebody calls runtime.GC or debug.FreeOSMemory again and again.",
		"Forced cycles per second.",
		"A single one, as by a profile with ?gc=1, is none.",
		"Remove the call.",
		"grep -rn 'runtime.GC()\\|FreeOSMemory' ."},
	{StopTheWorld, "The world is stopped",
		"Something stops all goroutines again and again: ReadMemStats, profiles of all goroutines, GOMAXPROCS set.",
		"Share of time that the world was stopped, by causes other than the collector.",
		"The collector's own pauses are short.",
		"Read runtime/metrics instead of ReadMemStats; dump goroutines seldom.",
		"curl ADMIN/metrics | grep observe_other_pause"},
	{LockContention, "Lock contention",
		"Many goroutines need one lock, whose holders compute: they queue.",
		"Goroutine-seconds blocked on locks, with processors free or only the holder's busy.",
		"A lock held while waiting for something is lock-held-io. Starved holders make every lock slow: then the machine is the cause.",
		"Hold it shorter, split it, or share nothing.",
		"go tool pprof ADMIN/debug/pprof/mutex"},
	{LockHeldIO, "Lock held during I/O",
		"The holder of a lock waits for a dependency, a disk or a sleep, and everybody else for the holder.",
		"Goroutine-seconds blocked on locks, while CPU use is low or a holder was seen waiting.",
		"Holders that compute are lock-contention.",
		"Do the I/O first, then take the lock.",
		"go tool pprof ADMIN/debug/pprof/mutex"},
	{LoggingLock, "Logging lock",
		"A logger writes to something slow under its lock, and all who log queue.",
		"Goroutine-seconds blocked on locks inside a logging package.",
		"Any other lock is lock-contention or lock-held-io.",
		"Write logs to a buffered or asynchronous writer; log less on hot paths.",
		"go tool pprof ADMIN/debug/pprof/mutex"},
	{PoolExhausted, "Connections exhausted",
		"All connections of a database's pool, or of an HTTP client with MaxConnsPerHost, are in use, and requests wait for one before the other side sees them.",
		"Goroutine-seconds of waiting for a connection, as large as the harm, while operations are as fast as usual once they have one.",
		"When operations are slower too, the database or the dependency is the cause and the wait a symptom.",
		"Hold connections shorter (close rows and bodies, no calls inside transactions), or raise SetMaxOpenConns or MaxConnsPerHost if the other side can take it.",
		"curl ADMIN/metrics | grep db_client_connection"},
	{DatabaseSlow, "Database slow",
		"Every kind of operation of a database takes longer.",
		"Seconds of its operations above usual, without waiting in the pool, corrected for our own wake-up delay.",
		"One statement alone is slow-query; more statements than usual are n-plus-one.",
		"Look at the database: load, locks, disk, vacuum, failover.",
		"curl ADMIN/debug/requests"},
	{SlowQuery, "One slow query",
		"One statement takes longer while the others are as fast as ever: a plan, an index, a lock on its rows.",
		"Seconds of one summary above usual, the others' flat.",
		"All of them slow is database-slow.",
		"EXPLAIN the statement.",
		"EXPLAIN ANALYZE the statement %s"},
	{RepeatedQueries, "N+1 queries",
		"A request runs one query for each row of another, or calls a dependency in a loop.",
		"Calls per request above usual at the usual time per call.",
		"Retries are calls that repeat failed ones.",
		"Fetch in one query (JOIN, IN), or in one batch.",
		"curl ADMIN/metrics | grep observe_db_repeated_queries_total"},
	{DependencySlow, "Dependency slow",
		"A service that we call answers later.",
		"Its seconds per call above usual for those who use it, corrected for our own wake-up delay.",
		"A long run queue makes every call look slow. One route's calls alone are that route.",
		"Ask its owners; set a timeout, shed or cache meanwhile.",
		"curl ADMIN/debug/traces"},
	{DependencyFailing, "Dependency failing",
		"A service that we call answers with errors or not at all.",
		"Its share of errors above usual.",
		"Calls that multiply because they fail are retry-storm.",
		"Ask its owners; answer without it where that is possible.",
		"curl ADMIN/debug/traces?failed"},
	{RetryStorm, "Retry storm",
		"Calls fail and are repeated at once: the load of the dependency, and our own, multiplies.",
		"Repeated calls, or calls per request above usual, together with errors.",
		"dependency-failing has no repeats.",
		"Back off with jitter, budget retries, break the circuit.",
		"curl ADMIN/metrics | grep observe_http_client_retries_total"},
	{ConnectionChurn, "Connection churn",
		"Calls open a new connection each, with look-up, handshake and TLS, instead of using one again.",
		"New connections per call, and the seconds of connecting.",
		"A slow dependency is slow on old connections, too.",
		"Read and close bodies; share one http.Client; raise MaxIdleConnsPerHost.",
		"curl ADMIN/metrics | grep observe_http_client_connection_uses_total"},
	{CacheCollapse, "Cache collapse",
		"The cache stopped hitting, and what it spared the database or dependency comes all at once.",
		"Hit ratio below usual, loads or stampedes above.",
		"The slow database behind it is the symptom.",
		"Load each key once at a time, spread expiries, keep serving the old value while loading.",
		"curl ADMIN/metrics | grep observe_cache"},
	{QueueGrowing, "Queue growing",
		"More comes in than is worked off.",
		"Items added above items taken, and the length at the end above that at the beginning.",
		"A stalled queue takes nothing at all.",
		"More workers or faster ones; refuse early when it is full.",
		"curl ADMIN/metrics | grep observe_queue"},
	{QueueStalled, "Queue stalled",
		"Nothing is taken from a queue that has items.",
		"No item taken for the whole interval, with items waiting.",
		"A growing queue is worked off, too slowly.",
		"Look where its workers are: they wait, or are gone.",
		"curl 'ADMIN/debug/pprof/goroutine?debug=1'"},
	{Backpressure, "Back-pressure in a channel or worker pool",
		"Requests wait for a channel, a semaphore or a condition: what drains it is too slow or too few.",
		"Request time without CPU, lock, pool or dependency; samples of goroutines stand at channel operations.",
		"A mutex is counted by the runtime; a channel is not. A wait that a timer ends, as the execution trace tells, is a sleep: slow-route.",
		"More workers, or admit fewer requests.",
		"curl 'ADMIN/debug/pprof/goroutine?debug=1'"},
	{BlockingSyscalls, "Blocking system calls",
		"Goroutines stand in system calls or C and take a thread each.",
		"Goroutines outside Go, threads, and request time without CPU.",
		"With pressure on the disk it is disk-stall.",
		"Use non-blocking I/O, bound how many enter at once.",
		"curl 'ADMIN/debug/pprof/goroutine?debug=1'"},
	{DiskStall, "Disk stall",
		"Reads, writes or syncs of files wait for the disk.",
		"Pressure on I/O, or request goroutines in file operations.",
		"System calls on anything else are blocking-syscalls.",
		"Write behind the request, sync in batches, give it another disk.",
		"cat /proc/pressure/io; iostat -x 1"},
	{SlowRoute, "One slow route, by its own code",
		"One route takes longer, and neither CPU, locks, pools nor known dependencies explain it: a sleep, a dependency without wrapper.",
		"Its own time above usual.",
		"Everything that is measured was subtracted.",
		"Look at a trace and the goroutines of the route; wrap what it calls with observe.Call.",
		"curl 'ADMIN/debug/traces?route=%s'"},
	{RouteFailing, "One route failing",
		"One route answers with errors, and no dependency's errors explain it.",
		"Its share of status 500 and above, against usual.",
		"Panics are panic-loop, a dependency's errors dependency-failing.",
		"Look at its logs and failed traces.",
		"curl 'ADMIN/debug/traces?route=%s'"},
	{PanicLoop, "Panic loop",
		"A handler panics again and again; net/http hides it from everybody but the client.",
		"Panics per request.",
		"Errors that are returned are route-failing.",
		"Read the stack in the log or trace; mend the handler.",
		"curl 'ADMIN/debug/traces?route=%s'"},
	{GoroutineLeak, "Goroutine leak",
		"Goroutines are started and never end.",
		"A group of goroutines whose oldest never die, or more of them each interval without more requests.",
		"More requests in flight hold more goroutines for a while.",
		"End them with their context; see the named place.",
		"curl ADMIN/debug/leaks"},
	{HeapLeak, "Heap leak",
		"Memory is kept that nobody needs.",
		"The live heap after collections grows without more load.",
		"A cache that fills stops at its cap.",
		"Bound the map, slice or cache at the named place.",
		"curl ADMIN/debug/leaks; go tool pprof ADMIN/debug/pprof/heap"},
	{DescriptorLeak, "Descriptor leak",
		"Files or sockets are opened and not closed.",
		"Open descriptors that only grow, and their limit.",
		"More connections of clients come with more requests.",
		"Close what is opened, in a defer.",
		"curl ADMIN/debug/leaks; ls -l /proc/PID/fd"},
	{ConnectionLeak, "Connection leak",
		"Rows, transactions or response bodies are left open and each holds a connection.",
		"What was left alone for a minute; connections in CLOSE_WAIT.",
		"A pool that is busy gives its connections back.",
		"defer rows.Close(), defer tx.Rollback(), defer resp.Body.Close().",
		"curl ADMIN/debug/leaks"},
	{MemoryNearLimit, "Memory near the limit",
		"The process nears the limit at which the kernel kills it.",
		"Room to the nearest limit, and when it is used up at the present growth.",
		"With a growing heap site it is heap-leak.",
		"Raise the limit, hold less, set GOMEMLIMIT to nine tenths of it.",
		"go tool pprof ADMIN/debug/pprof/heap"},
	{SlowClients, "Slow clients",
		"Handlers wait for their clients to send or to take bytes.",
		"Samples of request goroutines stand in reading the request or writing the response.",
		"It is the clients' time; only what it holds harms others.",
		"Set ReadTimeout and WriteTimeout; put a buffering proxy in front.",
		"curl 'ADMIN/debug/pprof/goroutine?debug=1'"},
	{TelemetryLoss, "Telemetry is losing data",
		"Traces, metrics, logs or profiles are dropped: what you see is not all.",
		"Lost items by signal and reason.",
		"Sampling loses nothing by this count.",
		"Look at the collector; raise the queue of the exporter.",
		"curl ADMIN/metrics | grep observe_dropped_total"},
}

// illness returns what is known of a cause.
func illness(c Cause) Illness {
	for _, i := range illnesses {
		if i.Cause == c {
			return i
		}
	}
	return Illness{Cause: c}
}
