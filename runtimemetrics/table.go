package runtimemetrics

import (
	"slices"
	"strings"
)

// A metric is a row of the table: what is known beforehand, and where the
// values come from. A histogram has a distribution, all else has series.
type metric struct {
	Description
	series       []series
	distribution func(*view) *Distribution
}

// A series is one value of a metric, with the value of its label if the metric
// has one (none of ours has more than two).
type series struct {
	value  func(*view) float64
	labels []string
}

// A view is what one scrape sees: a fresh reading for what is cumulative or a
// state, and the sampler's last interval for what takes time to measure.
type view struct {
	Snapshot
	last    Delta
	sampled bool // last is there
	cost    samplerCost
}

func one(value func(*view) float64) []series { return []series{{value: value}} }

func of(value func(*view) float64, labels ...string) series { return series{value, labels} }

// interval guards a figure of the last interval: absent until there is one.
func interval(value func(*Delta) float64) []series {
	return one(func(v *view) float64 {
		if !v.sampled {
			return unknown
		}
		return value(&v.last)
	})
}

// classicBounds are the upper bounds of the classic buckets in seconds: the
// powers of two of a nanosecond from 1 µs to 8.6 s. They are the runtime's own
// bounds, every fourth of them.
var classicBounds = func() []float64 {
	var out []float64
	for bit := classicFirstBit; bit <= classicLastBit; bit++ {
		out = append(out, float64(uint64(1)<<bit)/1e9)
	}
	return out
}()

const (
	classicFirstBit = 10 // 2^10 ns = 1.024 µs
	classicLastBit  = 33 // 2^33 ns = 8.59 s
)

// All returns the description of every metric that a Collector can emit, sorted
// by name. Which of them it does emit depends on the platform and its kernel.
// The slice is the caller's.
func All() []Description {
	out := make([]Description, len(table))
	for i := range table {
		out[i] = table[i].Description
		out[i].Labels = slices.Clone(out[i].Labels)
		out[i].Buckets = slices.Clone(out[i].Buckets)
	}
	slices.SortFunc(out, func(a, b Description) int { return strings.Compare(a.Name, b.Name) })
	return out
}

var table = []metric{
	// The scheduler.
	{
		Description: Description{
			Name: "go_schedule_duration_seconds", OTel: "go.schedule.duration", Kind: Histogram, Unit: "s",
			Help:    "Time goroutines were ready before they ran, one transition in eight (see observe_schedule_wait_seconds_total for all).",
			Buckets: classicBounds,
		},
		distribution: func(v *view) *Distribution { return &v.SchedLatency },
	},
	{
		Description: Description{
			Name: "observe_schedule_wait_seconds_total", Kind: Counter, Unit: "s",
			Help: "Goroutine-seconds ready but not running, corrected for the runtime's sampling.",
		},
		series: one(func(v *view) float64 {
			return known(&v.SchedLatency, v.SchedLatency.seconds()*v.SchedSampling)
		}),
	},
	{
		Description: Description{
			Name: "observe_schedule_delay_seconds", Kind: Gauge, Unit: "s", Labels: []string{"percentile"},
			Help: "Percentile of the time goroutines were ready before they ran, over the last sample interval.",
		},
		series: []series{
			of(func(v *view) float64 { return v.last.delay(v.sampled, .50) }, "50"),
			of(func(v *view) float64 { return v.last.delay(v.sampled, .95) }, "95"),
			of(func(v *view) float64 { return v.last.delay(v.sampled, .99) }, "99"),
		},
	},
	{
		Description: Description{
			Name: "observe_wakeup_delay_seconds", Kind: Histogram, Unit: "s",
			Help:    "Lateness of a timer probe, each counted for the time it stands for: what Node calls event-loop delay.",
			Buckets: classicBounds,
		},
		distribution: func(v *view) *Distribution { return &v.Wakeup },
	},
	{
		Description: Description{
			Name: "observe_sampler_busy_seconds_total", Kind: Counter, Unit: "s", Labels: []string{"part"},
			Help: "Time the runtime sampler was awake: what it costs at most in CPU of its own.",
		},
		series: []series{
			of(func(v *view) float64 { return v.cost.when(v.cost.sampling.Seconds()) }, "sample"),
			of(func(v *view) float64 { return v.cost.when(v.cost.probing.Seconds()) }, "probe"),
		},
	},
	{
		Description: Description{
			Name: "observe_sampler_wakeups_total", Kind: Counter, Unit: "{wakeup}", Labels: []string{"part"},
			Help: "Times the runtime sampler woke up; each also costs the kernel and the scheduler, up to 0.1 ms of CPU on a virtual machine.",
		},
		series: []series{
			of(func(v *view) float64 { return v.cost.when(float64(v.cost.samples)) }, "sample"),
			of(func(v *view) float64 { return v.cost.when(float64(v.cost.probes)) }, "probe"),
		},
	},
	{
		Description: Description{
			Name: "observe_mutex_wait_seconds_total", Kind: Counter, Unit: "s",
			Help: "Goroutine-seconds blocked on a sync.Mutex, a sync.RWMutex or a lock of the runtime.",
		},
		series: one(func(v *view) float64 { return v.MutexWait }),
	},
	{
		Description: Description{
			Name: "go_processor_limit", OTel: "go.processor.limit", Kind: Gauge, Unit: "{thread}",
			Help: "GOMAXPROCS: threads that may run Go code at once.",
		},
		series: one(func(v *view) float64 { return v.Processors }),
	},

	// Goroutines.
	{
		Description: Description{
			Name: "go_goroutine_count", OTel: "go.goroutine.count", Kind: Gauge, Unit: "{goroutine}",
			Help: "Goroutines that exist.",
		},
		series: one(func(v *view) float64 { return v.Goroutines.Total }),
	},
	{
		Description: Description{
			Name: "observe_goroutines", Kind: Gauge, Unit: "{goroutine}", Labels: []string{"state"},
			Help: "Goroutines by state.",
		},
		series: []series{
			of(func(v *view) float64 { return v.Goroutines.Runnable }, "runnable"),
			of(func(v *view) float64 { return v.Goroutines.Running }, "running"),
			of(func(v *view) float64 { return v.Goroutines.Waiting }, "waiting"),
			of(func(v *view) float64 { return v.Goroutines.NotInGo }, "not_in_go"),
		},
	},
	{
		Description: Description{
			Name: "observe_goroutines_created_total", Kind: Counter, Unit: "{goroutine}",
			Help: "Goroutines ever created.",
		},
		series: one(func(v *view) float64 { return v.Goroutines.Created }),
	},

	// CPU and the garbage collector.
	{
		Description: Description{
			Name: "go_cpu_time_seconds_total", OTel: "go.cpu.time", Kind: Counter, Unit: "s", Labels: []string{"go_cpu_state"},
			Help: "The runtime's estimate of CPU time by use, closed at the end of each GC cycle; compare only with itself.",
		},
		series: []series{
			of(func(v *view) float64 { return v.CPU.User }, "user"),
			of(func(v *view) float64 { return v.CPU.GC }, "gc"),
			of(func(v *view) float64 { return v.CPU.Scavenge }, "scavenge"),
			of(func(v *view) float64 { return v.CPU.Idle }, "idle"),
		},
	},
	{
		Description: Description{
			Name: "observe_gc_cpu_seconds_total", Kind: Counter, Unit: "s", Labels: []string{"part"},
			Help: "CPU time of the garbage collector by part; assist is taken from allocating goroutines.",
		},
		series: []series{
			of(func(v *view) float64 { return v.CPU.GCAssist }, "assist"),
			of(func(v *view) float64 { return v.CPU.GCDedicated }, "dedicated"),
			of(func(v *view) float64 { return v.CPU.GCIdle }, "idle"),
			of(func(v *view) float64 { return v.CPU.GCPause }, "pause"),
		},
	},
	{
		Description: Description{
			Name: "observe_gc_cpu_ratio", Kind: Gauge, Unit: "1",
			Help: "Share of GOMAXPROCS that the garbage collector took in the last sample interval.",
		},
		series: interval(func(d *Delta) float64 { return d.GCShare }),
	},
	{
		Description: Description{
			Name: "go_memory_gc_pause_duration_seconds", OTel: "go.memory.gc.pause.duration", Kind: Histogram, Unit: "s",
			Help:    "Stop-the-world pauses of the garbage collector.",
			Buckets: classicBounds,
		},
		distribution: func(v *view) *Distribution { return &v.GCPause },
	},
	{
		Description: Description{
			Name: "observe_other_pause_duration_seconds", Kind: Histogram, Unit: "s",
			Help:    "Stop-the-world pauses for anything but the garbage collector.",
			Buckets: classicBounds,
		},
		distribution: func(v *view) *Distribution { return &v.OtherPause },
	},
	{
		Description: Description{
			Name: "go_memory_gc_cycles_total", OTel: "go.memory.gc.cycles", Kind: Counter, Unit: "{gc_cycle}",
			Help: "Completed GC cycles.",
		},
		series: one(func(v *view) float64 { return v.GC.Cycles }),
	},
	{
		Description: Description{
			Name: "observe_gc_forced_cycles_total", Kind: Counter, Unit: "{gc_cycle}",
			Help: "Completed GC cycles that the program asked for.",
		},
		series: one(func(v *view) float64 { return v.GC.Forced }),
	},
	{
		Description: Description{
			Name: "observe_gc_limited", Kind: Gauge, Unit: "1",
			Help: "1 when the GC CPU limiter was on in the last sample interval: memory is traded for progress near the limit.",
		},
		series: interval(func(d *Delta) float64 {
			if !Known(d.Now.GC.LimiterLast) {
				return unknown
			}
			if d.GCLimited {
				return 1
			}
			return 0
		}),
	},
	{
		Description: Description{
			Name: "go_config_gogc_percent", OTel: "go.config.gogc", Kind: Gauge, Unit: "%",
			Help: "GOGC; absent when off.",
		},
		series: one(func(v *view) float64 { return v.GC.Percent }),
	},

	// Memory of the runtime.
	{
		Description: Description{
			Name: "go_memory_used_bytes", OTel: "go.memory.used", Kind: Gauge, Unit: "By", Labels: []string{"go_memory_type"},
			Help: "Memory the runtime holds: mapped and not returned.",
		},
		series: []series{
			of(func(v *view) float64 { return v.Memory.Stack }, "stack"),
			of(func(v *view) float64 { return v.Memory.Used - v.Memory.Stack }, "other"),
		},
	},
	{
		Description: Description{
			Name: "go_memory_limit_bytes", OTel: "go.memory.limit", Kind: Gauge, Unit: "By",
			Help: "GOMEMLIMIT; absent when not set.",
		},
		series: one(func(v *view) float64 { return v.Memory.Limit }),
	},
	{
		Description: Description{
			Name: "go_memory_allocated_bytes_total", OTel: "go.memory.allocated", Kind: Counter, Unit: "By",
			Help: "Bytes allocated on the heap.",
		},
		series: one(func(v *view) float64 { return v.Memory.Allocated }),
	},
	{
		Description: Description{
			Name: "go_memory_allocations_total", OTel: "go.memory.allocations", Kind: Counter, Unit: "{allocation}",
			Help: "Objects allocated on the heap.",
		},
		series: one(func(v *view) float64 { return v.Memory.Allocations }),
	},
	{
		Description: Description{
			Name: "go_memory_gc_goal_bytes", OTel: "go.memory.gc.goal", Kind: Gauge, Unit: "By",
			Help: "Heap size at which the current GC cycle is to end.",
		},
		series: one(func(v *view) float64 { return v.Memory.HeapGoal }),
	},
	{
		Description: Description{
			Name: "observe_memory_heap_live_bytes", Kind: Gauge, Unit: "By",
			Help: "Heap that the last GC cycle found in use.",
		},
		series: one(func(v *view) float64 { return v.Memory.HeapLive }),
	},
	{
		Description: Description{
			Name: "observe_memory_headroom_ratio", Kind: Gauge, Unit: "1",
			Help: "Share of the nearest memory limit (cgroup, GOMEMLIMIT, host) that is still free, at the last sample.",
		},
		series: interval(func(d *Delta) float64 { return d.Headroom.Ratio }),
	},
	{
		Description: Description{
			Name: "observe_memory_time_to_limit_seconds", Kind: Gauge, Unit: "s",
			Help: "Time until the nearest memory limit at the trend of the kept samples; absent when memory is not growing.",
		},
		series: interval(func(d *Delta) float64 {
			if d.Headroom.After <= 0 {
				return unknown
			}
			return d.Headroom.After.Seconds()
		}),
	},

	// The process.
	{
		Description: Description{
			Name: "process_cpu_time_seconds_total", OTel: "process.cpu.time", Kind: Counter, Unit: "s", Labels: []string{"cpu_mode"},
			Help: "CPU time of the process, by mode.",
		},
		series: []series{
			of(func(v *view) float64 { return v.Process.CPUUser }, "user"),
			of(func(v *view) float64 { return v.Process.CPUSystem }, "system"),
		},
	},
	{
		Description: Description{
			Name: "observe_run_delay_seconds_total", Kind: Counter, Unit: "s",
			Help: "Thread-seconds ready to run while the kernel ran something else.",
		},
		series: one(func(v *view) float64 { return v.Process.RunDelay }),
	},
	{
		Description: Description{
			Name: "process_thread_count", OTel: "process.thread.count", Kind: Gauge, Unit: "{thread}",
			Help: "Threads of the process.",
		},
		series: one(func(v *view) float64 { return v.Process.Threads }),
	},
	{
		Description: Description{
			Name: "process_context_switches_total", OTel: "process.context_switches", Kind: Counter, Unit: "{context_switch}",
			Labels: []string{"process_context_switch_type"},
			Help:   "Context switches of all threads; involuntary means the kernel took the CPU away.",
		},
		series: []series{
			of(func(v *view) float64 { return v.Process.VoluntarySwitches }, "voluntary"),
			of(func(v *view) float64 { return v.Process.ForcedSwitches }, "involuntary"),
		},
	},
	{
		Description: Description{
			Name: "process_paging_faults_total", OTel: "process.paging.faults", Kind: Counter, Unit: "{fault}",
			Labels: []string{"system_paging_fault_type"},
			Help:   "Page faults; major ones waited for a disk.",
		},
		series: []series{
			of(func(v *view) float64 { return v.Process.MajorFaults }, "major"),
			of(func(v *view) float64 { return v.Process.MinorFaults }, "minor"),
		},
	},
	{
		Description: Description{
			Name: "process_memory_usage_bytes", OTel: "process.memory.usage", Kind: Gauge, Unit: "By",
			Help: "Resident memory of the process.",
		},
		series: one(func(v *view) float64 { return v.Process.Resident }),
	},
	{
		Description: Description{
			Name: "process_memory_virtual_bytes", OTel: "process.memory.virtual", Kind: Gauge, Unit: "By",
			Help: "Virtual memory of the process.",
		},
		series: one(func(v *view) float64 { return v.Process.Virtual }),
	},
	{
		Description: Description{
			Name: "process_unix_file_descriptor_count", OTel: "process.unix.file_descriptor.count", Kind: Gauge, Unit: "{file_descriptor}",
			Help: "Open file descriptors.",
		},
		series: one(func(v *view) float64 { return v.Process.Descriptors }),
	},
	{
		Description: Description{
			Name: "observe_file_descriptor_limit", Kind: Gauge, Unit: "{file_descriptor}",
			Help: "Open file descriptors at which the next one fails.",
		},
		series: one(func(v *view) float64 { return v.Process.DescriptorLimit }),
	},
	{
		Description: Description{
			Name: "process_disk_io_bytes_total", OTel: "process.disk.io", Kind: Counter, Unit: "By", Labels: []string{"disk_io_direction"},
			Help: "Bytes the process read from and wrote to the block layer.",
		},
		series: []series{
			of(func(v *view) float64 { return v.Process.DiskRead }, "read"),
			of(func(v *view) float64 { return v.Process.DiskWritten }, "write"),
		},
	},
	{
		Description: Description{
			Name: "process_network_io_bytes_total", OTel: "process.network.io", Kind: Counter, Unit: "By", Labels: []string{"network_io_direction"},
			Help: "IP bytes of the network namespace, which in a container is the process's own.",
		},
		series: []series{
			of(func(v *view) float64 { return v.Process.NetworkReceived }, "receive"),
			of(func(v *view) float64 { return v.Process.NetworkTransmitted }, "transmit"),
		},
	},
	{
		Description: Description{
			Name: "observe_tcp_sockets", Kind: Gauge, Unit: "{socket}", Labels: []string{"state"},
			Help: "TCP sockets of the network namespace by state.",
		},
		series: []series{
			of(func(v *view) float64 { return v.Process.SocketsInUse }, "in_use"),
			of(func(v *view) float64 { return v.Process.SocketsTimeWait }, "time_wait"),
			of(func(v *view) float64 { return v.Process.SocketsOrphaned }, "orphaned"),
		},
	},
	{
		Description: Description{
			Name: "process_uptime_seconds", OTel: "process.uptime", Kind: Gauge, Unit: "s",
			Help: "Time since the process started.",
		},
		series: one(func(v *view) float64 {
			if v.Process.Started.IsZero() {
				return unknown
			}
			return v.Time.Sub(v.Process.Started).Seconds()
		}),
	},

	// The container.
	{
		Description: Description{
			Name: "container_cpu_time_seconds_total", OTel: "container.cpu.time", Kind: Counter, Unit: "s", Labels: []string{"cpu_mode"},
			Help: "CPU time of the cgroup, by mode.",
		},
		series: []series{
			of(func(v *view) float64 { return v.Container.CPUUser }, "user"),
			of(func(v *view) float64 { return v.Container.CPUSystem }, "system"),
		},
	},
	{
		Description: Description{
			Name: "observe_container_cpu_limit", Kind: Gauge, Unit: "{cpu}",
			Help: "CPUs the cgroup may use at once; absent without a quota.",
		},
		series: one(func(v *view) float64 { return v.Container.CPULimit }),
	},
	{
		Description: Description{
			Name: "observe_container_cpu_periods_total", Kind: Counter, Unit: "{period}",
			Help: "Enforcement periods of the CPU quota in which something ran.",
		},
		series: one(func(v *view) float64 { return v.Container.Periods }),
	},
	{
		Description: Description{
			Name: "observe_container_cpu_throttled_periods_total", Kind: Counter, Unit: "{period}",
			Help: "Enforcement periods in which the CPU quota ran out.",
		},
		series: one(func(v *view) float64 { return v.Container.ThrottledPeriods }),
	},
	{
		Description: Description{
			Name: "observe_container_cpu_throttled_seconds_total", Kind: Counter, Unit: "s",
			Help: "Seconds in which the CPU quota held the cgroup back, summed over CPUs.",
		},
		series: one(func(v *view) float64 { return v.Container.Throttled }),
	},
	{
		Description: Description{
			Name: "container_memory_usage_bytes", OTel: "container.memory.usage", Kind: Gauge, Unit: "By",
			Help: "Memory of the cgroup, page cache included.",
		},
		series: one(func(v *view) float64 { return v.Container.MemoryUsage }),
	},
	{
		Description: Description{
			Name: "container_memory_working_set_bytes", OTel: "container.memory.working_set", Kind: Gauge, Unit: "By",
			Help: "Memory of the cgroup without inactive file pages.",
		},
		series: one(func(v *view) float64 { return v.Container.MemoryWorkingSet }),
	},
	{
		Description: Description{
			Name: "container_memory_rss_bytes", OTel: "container.memory.rss", Kind: Gauge, Unit: "By",
			Help: "Anonymous memory of the cgroup.",
		},
		series: one(func(v *view) float64 { return v.Container.MemoryRSS }),
	},
	{
		Description: Description{
			Name: "container_memory_available_bytes", OTel: "container.memory.available", Kind: Gauge, Unit: "By",
			Help: "Memory limit of the cgroup minus its working set; absent without a limit.",
		},
		series: one(func(v *view) float64 { return max(v.Container.MemoryLimit-v.Container.MemoryWorkingSet, 0) }),
	},
	{
		Description: Description{
			Name: "observe_container_memory_limit_bytes", Kind: Gauge, Unit: "By",
			Help: "Memory limit of the cgroup; absent without one.",
		},
		series: one(func(v *view) float64 { return v.Container.MemoryLimit }),
	},
	{
		Description: Description{
			Name: "observe_container_oom_kills_total", Kind: Counter, Unit: "{kill}",
			Help: "Processes of the cgroup that the kernel killed for memory.",
		},
		series: one(func(v *view) float64 { return v.Container.OOMKills }),
	},

	// The kernel and the host.
	{
		Description: Description{
			Name: "observe_pressure_waiting_seconds_total", Kind: Counter, Unit: "s", Labels: []string{"scope", "resource"},
			Help: "Seconds in which some task waited for the resource (PSI some).",
		},
		series: []series{
			of(func(v *view) float64 { return v.Container.Pressure.CPUSome }, "container", "cpu"),
			of(func(v *view) float64 { return v.Container.Pressure.MemorySome }, "container", "memory"),
			of(func(v *view) float64 { return v.Container.Pressure.IOSome }, "container", "io"),
			of(func(v *view) float64 { return v.Host.Pressure.CPUSome }, "host", "cpu"),
			of(func(v *view) float64 { return v.Host.Pressure.MemorySome }, "host", "memory"),
			of(func(v *view) float64 { return v.Host.Pressure.IOSome }, "host", "io"),
		},
	},
	{
		Description: Description{
			Name: "observe_pressure_stalled_seconds_total", Kind: Counter, Unit: "s", Labels: []string{"scope", "resource"},
			Help: "Seconds in which every task that wanted to run waited for the resource (PSI full).",
		},
		series: []series{
			of(func(v *view) float64 { return v.Container.Pressure.CPUFull }, "container", "cpu"),
			of(func(v *view) float64 { return v.Container.Pressure.MemoryFull }, "container", "memory"),
			of(func(v *view) float64 { return v.Container.Pressure.IOFull }, "container", "io"),
			of(func(v *view) float64 { return v.Host.Pressure.MemoryFull }, "host", "memory"),
			of(func(v *view) float64 { return v.Host.Pressure.IOFull }, "host", "io"),
		},
	},
	{
		Description: Description{
			Name: "system_cpu_time_seconds_total", OTel: "system.cpu.time", Kind: Counter, Unit: "s", Labels: []string{"cpu_mode"},
			Help: "CPU time of the host by mode, over all CPUs.",
		},
		series: []series{
			of(func(v *view) float64 { return v.Host.CPUUser }, "user"),
			of(func(v *view) float64 { return v.Host.CPUSystem }, "system"),
			of(func(v *view) float64 { return v.Host.CPUIdle }, "idle"),
			of(func(v *view) float64 { return v.Host.CPUIOWait }, "iowait"),
			of(func(v *view) float64 { return v.Host.CPUSteal }, "steal"),
		},
	},
	{
		Description: Description{
			Name: "observe_host_memory_available_bytes", Kind: Gauge, Unit: "By",
			Help: "Memory of the host that can be had without swapping.",
		},
		series: one(func(v *view) float64 { return v.Host.MemoryAvailable }),
	},
	{
		Description: Description{
			Name: "observe_host_memory_limit_bytes", Kind: Gauge, Unit: "By",
			Help: "Memory of the host.",
		},
		series: one(func(v *view) float64 { return v.Host.MemoryTotal }),
	},
}
