// Package runtimemetrics answers one question: is it the runtime, the process
// or the container around it that makes a Go service slow?
//
// It reads runtime/metrics, /proc and the cgroup at regular times, compares the
// readings and exports both to Prometheus:
//
//	sampler := &runtimemetrics.Sampler{}
//	go sampler.Run(ctx)
//	registry.MustRegister(&runtimemetrics.Collector{Sampler: sampler})
//
//	if d, ok := sampler.Latest(); ok && d.SchedP99 > 10*time.Millisecond {
//		log.Printf("goroutines wait %v to run, %.1f of them at any moment", d.SchedP99, d.SchedWait)
//	}
//
// [Read] takes one [Snapshot], two of them make a [Delta], [All] describes every
// metric.
//
// # One unit
//
// Waiting is measured in goroutine-seconds per second: how many goroutines were
// at it at any moment, on average. Ten goroutines that want two processors give
// a SchedWait of 8. Nine that want one lock give a MutexWait of 8. A GCAssist of
// 0.5 means that half a goroutine was always busy collecting garbage instead of
// serving. So the waits can be compared with each other, added, and set against
// the requests in flight.
//
// # The scheduler
//
// A goroutine that becomes ready waits until a processor takes it up.
// SchedP50 to SchedP99 say how long, SchedWait how much in all. The runtime
// measures one such wait in eight. Percentiles need no correction; SchedWait is
// multiplied by the factor, which is measured at the first reading and not
// taken on trust, because Go 1.26 changed what is measured (golang/go#79391):
// before, a system call that returned at once counted as a wait of zero. Do not
// compare percentiles across that version, and prefer a service's own past to a
// fixed threshold.
//
// The histogram's 24 bounds are every fourth of the runtime's own, so its counts
// are exact; between bounds a quantile that Prometheus computes may be off by a
// factor of up to 2. The native histogram in the same metric, and the
// percentiles in a Delta, are exact to 25 % at worst and to about 10 % as a
// rule. Sums are estimated from the middles of the runtime's buckets.
//
// # The probe
//
// What the runtime cannot see is a process that does not run at all: throttled,
// preempted or paused with all its threads, or with timers that fire late. The
// Sampler sets itself a timer every 250 ms and records how late it fires. That
// is Node's event-loop delay. After a late one it looks five times more often for
// two seconds; each probe counts for the time it stands for, so that the
// distribution remains that of time.
//
// The two complement each other: under a deep run queue timers are favoured
// and the probe understates; a starved process records nothing and SchedP99
// stays low while the probe rises.
//
// # The garbage collector
//
// GCShare is its share of GOMAXPROCS, GCAssist what it takes from goroutines
// that allocate faster than it works, GCPause when the world stood still. The
// runtime books CPU time when a cycle ends: an interval without the end of a
// cycle shows none. GCLimited says that the collector hit its own CPU limit: a
// death spiral near the memory limit, in which memory is given up for progress.
// HeapHeldDown says that GOMEMLIMIT and not GOGC sets the pace.
//
// # Memory
//
// [Headroom] is one figure: the share of the nearest limit that is still free.
// The limits are the cgroup's (against the working set, as Kubernetes and the
// OOM killer count), GOMEMLIMIT (against what the collector could not free) and
// the host's memory. Headroom.After is the time until the first limit at the
// trend of the samples kept, absent unless the floor of memory use rises.
//
// # The processors
//
// CPUShare near 1: the process has work for more processors than GOMAXPROCS.
// QuotaShare near 1 or Throttled above 0: the container's quota stops it.
// RunDelay, host pressure or StealShare high with little CPU of its own: others
// are in the way.
//
// # What is not known
//
// A figure without a source is NaN, see [Known]: another platform, an older
// kernel, a file that is missing, unreadable or makes no sense, a limit that is
// not set. Its metric is absent. Nothing is zero that was not measured as zero,
// and no input makes the package fail. What is missing is logged once, at debug
// level. Linux gives everything; other systems what the runtime and getrusage
// or its like give.
//
// # Names
//
// Names follow the OpenTelemetry semantic conventions where they have one, and
// begin with observe_ where they have none. client_golang's own collectors may
// stay registered: no name is in both. The same fact has two names then:
//
//	go_goroutine_count                    go_goroutines
//	go_schedule_duration_seconds          go_sched_latencies_seconds
//	go_memory_gc_pause_duration_seconds   go_gc_duration_seconds
//	go_memory_allocated_bytes_total       go_memstats_alloc_bytes_total
//	go_memory_gc_goal_bytes               go_memstats_next_gc_bytes
//	go_memory_limit_bytes                 go_gc_gomemlimit_bytes
//	go_config_gogc_percent                go_gc_gogc_percent
//	go_processor_limit                    go_sched_gomaxprocs_threads
//	process_cpu_time_seconds_total        process_cpu_seconds_total
//	process_memory_usage_bytes            process_resident_memory_bytes
//	process_memory_virtual_bytes          process_virtual_memory_bytes
//	process_unix_file_descriptor_count    process_open_fds
//	process_thread_count                  go_threads
//	observe_file_descriptor_limit         process_max_fds
//
// # Coming from Node
//
//	nodejs_eventloop_lag_seconds          observe_wakeup_delay_seconds
//	nodejs_eventloop_lag_min, max, mean   observe_wakeup_delay_seconds, go_schedule_duration_seconds
//	nodejs_eventloop_lag_p50, p90, p99    observe_schedule_delay_seconds{percentile}
//	nodejs.eventloop.delay.*              observe_wakeup_delay_seconds, go_schedule_duration_seconds
//	nodejs.eventloop.utilization          rate(process_cpu_time_seconds_total) / go_processor_limit
//	nodejs.eventloop.time                 go_cpu_time_seconds_total
//	nodejs_active_handles, requests       go_goroutine_count, observe_goroutines{state}
//	nodejs_gc_duration_seconds            go_memory_gc_pause_duration_seconds, observe_gc_cpu_seconds_total
//	nodejs_heap_size_used_bytes           observe_memory_heap_live_bytes
//	nodejs_heap_size_total_bytes          go_memory_used_bytes
//	nodejs_heap_space_size_*_bytes        go_memory_used_bytes{go_memory_type}
//	nodejs_external_memory_bytes          process_memory_usage_bytes - go_memory_used_bytes
//
// Two differences matter. A gauge of lag that is read at the scrape measures
// the scrape; these are histograms filled all the time, which any number of
// scrapers may read. And in Go one slow handler does not delay the others as
// long as there are processors: that is why lag comes as SchedWait, with the
// number of goroutines that suffer it.
//
// # Concurrency and cost
//
// Everything may be called concurrently. The package starts no goroutine: Run
// uses its caller's. A sample takes under 0.1 ms on a common Linux machine, the
// runtime's part of it 2 µs and no allocation, so that sampling every 5 s costs
// about 0.01 % of a processor and the probe less than 0.1 %; the metrics
// observe_sampler_* tell what they do. A scrape of the runtime's metrics costs
// half of client_golang's Go collector with all of them; a scrape of everything
// half of its Go and process collectors together.
package runtimemetrics
