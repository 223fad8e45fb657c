package plan

import "strings"

func (c Config) runtimeAlerts() []Alert {
	instance := []string{"job", "instance"}
	// Somebody must be waiting: the scheduler's wait of an idle process is the
	// host's business. Low CPU alone proves nothing, for a throttled process
	// has it too, so requests count as well.
	busy := "\nand " + on(perInstance) + " (" + instanceRequests + " > 0.1 or " + instanceCPU + " > 0.05)"
	// A leak is a floor that rises, three times in a row, in a process that is
	// past its warm-up.
	old := "\nand " + on(perInstance) + " " + uptime + " > 4 * 3600"
	floor := func(metric, offset string) string {
		if offset != "" {
			offset = " offset " + offset
		}
		return "min_over_time(" + metric + "[30m]" + offset + ")"
	}
	heap := memoryUsed + `{go_memory_type="other"}`
	return []Alert{
		{
			Name: "GoSchedulerLatencyHigh", Severity: Ticket, Category: "saturation",
			Expr:        instanceSched + " > " + seconds(c.SchedWait) + busy,
			For:         "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: goroutines wait {{ $value | humanizeDuration }} (p99) for a processor`,
			Description: `Goroutines that could run are not run, for 10 minutes, at p99 above ` + c.SchedWait.String() + `. Every request pays this wait several times.`,
			Advice: `Runtime page. CPU of GOMAXPROCS near 100 %: take a CPU profile or add instances. CPU low: the container is throttled (raise its CPU limit) or the host is busy with somebody else.
GET /debug/doctor on the admin address tells the three apart.`,
			Dashboard: RuntimeUID, Vars: instance,
		},
		{
			Name: "GoSchedulerLatencyCritical", Severity: Page, Category: "saturation",
			Expr: instanceSched + " > " + seconds(c.SchedWaitPage) + busy,
			For:  "5m", Keep: "5m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: goroutines wait {{ $value | humanizeDuration }} (p99) for a processor`,
			Description: `Goroutines that could run wait more than ` + c.SchedWaitPage.String() + ` at p99, for 5 minutes: users feel it on every request.`,
			Advice: `One instance: take it out of the load balancer. All of them: add instances or raise the CPU limit now.
Then as for GoSchedulerLatencyHigh: CPU profile, throttling, neighbours.`,
			Dashboard: RuntimeUID, Vars: instance,
		},
		{
			Name: "GoCPUSaturated", Severity: Ticket, Category: "saturation",
			Expr:        instanceCPU + " > " + number(c.CPUShare),
			For:         "15m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} uses {{ $value | humanizePercentage }} of its CPUs`,
			Description: `Nearly every processor that GOMAXPROCS allows was busy for 15 minutes. The next request waits.`,
			Advice:      `CPU profile: GET /debug/pprof/profile?seconds=10 on the admin address. Collector on top: see GoGCCPUHigh. Otherwise make the top function cheaper, or add instances.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "CPUThrottledHurting", Severity: Ticket, Category: "saturation",
			Expr: instanceThrottle + " > 0.25" +
				"\nand " + on(perInstance) + " " + instanceSched + " > " + seconds(c.SchedWait),
			For:         "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: its CPU limit throttles {{ $value | humanizePercentage }} of the periods, and goroutines wait`,
			Description: `Throttling and scheduler latency are high together for 10 minutes: the limit delays requests. Throttling alone is often harmless and is only CPUThrottled.`,
			Advice:      `Raise or remove the container's CPU limit. GOMAXPROCS follows the limit by itself since Go 1.25; if somebody set it higher, unset it.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "CPUThrottled", Severity: Info, Category: "saturation",
			Expr:        instanceThrottle + " > 0.25",
			For:         "30m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: its CPU limit throttles {{ $value | humanizePercentage }} of the periods`,
			Description: `For 30 minutes. Context for other alerts: as long as goroutines do not wait, nobody is hurt.`,
			Advice:      `Nothing while the scheduler's p99 is fine.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "GoMutexContentionHigh", Severity: Info, Category: "saturation",
			Expr:        ratio(sum(inRule.rate(mutexWait), perInstance...), most(processors, perInstance...)) + " > 0.5",
			For:         "15m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: {{ $value | printf "%.1f" }} goroutines for each processor wait for a lock`,
			Description: `On average over 15 minutes, goroutines that wait for a sync.Mutex or RWMutex.`,
			Advice:      `Mutex profile: GET /debug/pprof/mutex on the admin address. Shorten what the top lock covers (no I/O under a lock), or split it.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "GoGCCPUHigh", Severity: Ticket, Category: "saturation",
			Expr: instanceGC + " > " + number(c.GCShare) +
				"\nand " + on(perInstance) + " " + instanceCPU + " > 0.1",
			For:         "15m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: the collector takes {{ $value | humanizePercentage }} of the used CPU`,
			Description: `For 15 minutes, in a process that uses more than a tenth of its CPUs. It is paid by whoever allocates, in the middle of a request.`,
			Advice:      `Allocation profile: GET /debug/pprof/allocs on the admin address. If memory is free, raise GOGC or GOMEMLIMIT; if memory is at GOMEMLIMIT, see GoMemoryNearLimit.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "GoGCDeathSpiral", Severity: Page, Category: "saturation",
			Expr: instanceGC + " > " + number(c.GCSharePage) +
				"\nand " + on(perInstance) + " " + instanceMemory + " > " + number(c.MemoryShare),
			For: "5m", Keep: "5m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: the collector burns {{ $value | humanizePercentage }} of the CPU at the memory limit`,
			Description: `What is alive no longer fits GOMEMLIMIT. The collector runs all the time, held by the runtime at half of the CPU, until the process is killed.`,
			Advice: `Raise the memory limit or shed load now; a restart buys time.
Before it: GET /debug/pprof/heap on the admin address, for the cause is in it and is lost with the process.`,
			Dashboard: RuntimeUID, Vars: instance,
		},
		{
			Name: "GoMemoryNearLimit", Severity: Ticket, Category: "saturation",
			Expr:        instanceMemory + " > " + number(c.MemoryShare),
			For:         "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} uses {{ $value | humanizePercentage }} of GOMEMLIMIT`,
			Description: `The collector works the harder the closer the process is to its limit.`,
			Advice:      `Heap profile: GET /debug/pprof/heap on the admin address. Does the memory floor on the Runtime page rise (a leak), or does it follow the traffic?`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "ContainerMemoryNearLimit", Severity: Ticket, Category: "saturation",
			Expr:        inRule.containerMemoryShare(perInstance...) + " > " + number(c.MemoryShare),
			For:         "5m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} uses {{ $value | humanizePercentage }} of its container's memory`,
			Description: `At the limit the kernel kills the process without a log line.`,
			Advice:      `Compare Go's memory with the container's on the Runtime page: the gap is cgo, mmap or page cache. Set GOMEMLIMIT to 90 % of the container's limit.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "ContainerOOMImminent", Severity: Page, Category: "saturation",
			Expr: inRule.containerMemoryShare(perInstance...) + " > 0.97",
			For:  "1m", Keep: "5m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} uses {{ $value | humanizePercentage }} of its container's memory: it is killed next`,
			Description: `The kernel kills at the limit, and everything in flight is lost.`,
			Advice:      `GET /debug/pprof/heap on the admin address first, for it is lost with the process. Then raise the limit or restart in turn.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "ContainerOOMKilled", Severity: Ticket, Category: "availability",
			Expr: born(oomKills, "10m", 0, perInstance...),
			For:  "0s", Keep: "30m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: killed by the kernel for memory, {{ $value | humanize }} in 10 minutes`,
			Description: `In the last 10 minutes, in the container of this instance.`,
			Advice:      `If it was the service itself, its memory before the kill is on the Runtime page: raise the limit, set GOMEMLIMIT to 90 % of it, take a heap profile.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "MemoryExhaustionPredicted", Severity: Ticket, Category: "saturation",
			Expr: "max_over_time(" + timeToLimit + "[10m]) < 4 * 3600" +
				"\nand " + on(perInstance) + " " + headroom + " < 0.4" +
				"\nand " + on(perInstance) + " " + uptime + " > 2 * 3600",
			For:         "30m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} runs out of memory in {{ $value | humanizeDuration }}`,
			Description: `At its own trend, for 30 minutes; more than 60 % of the nearest limit (container, GOMEMLIMIT or host) is used.`,
			Advice:      `There are hours: two heap profiles an hour apart and their difference, then a restart in a quiet moment.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "GoHeapLeakSuspected", Severity: Ticket, Category: "leak",
			Expr: strings.Join([]string{
				floor(heap, "") + " / (" + floor(heap, "3h") + " > 50e6) > 1.5",
				"and " + on(perInstance) + " " + floor(heap, "1h") + " > 1.1 * " + floor(heap, "2h"),
				"and " + on(perInstance) + " " + floor(heap, "") + " > 1.1 * " + floor(heap, "1h"),
			}, "\n") + old +
				"\nunless " + on(perJob) + " " + jobRequests + " > 1.3 * " + jobRequests + " offset 3h",
			For:         "30m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: the floor of its memory grew {{ $value | printf "%.1f" }} times in 3 hours`,
			Description: `The least memory of each half hour, so what stays after a collection, keeps rising while the traffic does not.`,
			Advice:      `Two heap profiles an hour apart: go tool pprof -diff_base first second, sorted by inuse_space. Usual: a map that is never pruned, a cache without a bound, a slice that holds a large array.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "GoGoroutineLeakSuspected", Severity: Ticket, Category: "leak",
			Expr: strings.Join([]string{
				floor(goroutines, "") + " / " + floor(goroutines, "3h") + " > 2",
				"and " + on(perInstance) + " " + floor(goroutines, "") + " > 1000",
				"and " + on(perInstance) + " " + floor(goroutines, "") + " > 1.1 * " + floor(goroutines, "1h"),
				"and " + on(perInstance) + " " + floor(goroutines, "1h") + " > 1.1 * " + floor(goroutines, "2h"),
			}, "\n") + old +
				"\nunless " + on(perJob) + " " + jobRequests + " > 1.5 * " + jobRequests + " offset 3h",
			For:         "30m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: the floor of its goroutines grew {{ $value | printf "%.1f" }} times in 3 hours`,
			Description: `The least number of goroutines of each half hour keeps rising while the traffic does not.`,
			Advice:      `GET /debug/pprof/goroutine?debug=1 on the admin address: the group that grew is the leak. Usual: a missing cancel, a channel that nobody reads, a body that is not closed.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "FileDescriptorsRunningOut", Severity: Ticket, Category: "saturation",
			Expr:        inRule.descriptorShare(perInstance...) + " > " + number(c.DescriptorShare),
			For:         "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} uses {{ $value | humanizePercentage }} of its file descriptors`,
			Description: `Response bodies and connections that are not closed are the usual cause.`,
			Advice:      `ls -l /proc/PID/fd, grouped by kind: sockets are bodies not closed or a missing idle timeout, files are a missing Close.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "FileDescriptorsExhausted", Severity: Page, Category: "saturation",
			Expr: inRule.descriptorShare(perInstance...) + " > " + number(c.DescriptorSharePage),
			For:  "1m", Keep: "5m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} uses {{ $value | humanizePercentage }} of its file descriptors: accept and dial fail next`,
			Description: `With none left the process can neither accept a connection nor open one.`,
			Advice:      `Keep ls -l /proc/PID/fd, then restart the instance. Raise the limit (LimitNOFILE) only if the number follows the traffic.`,
			Dashboard:   RuntimeUID, Vars: instance,
		},
		{
			Name: "ProcessRestartingOften", Severity: Page, Category: "availability",
			Expr: "resets(" + uptime + "[30m]) > 2" + ours(perInstance),
			For:  "0s", Keep: "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} restarted {{ $value | humanize }} times in 30 minutes`,
			Description: `A crash loop.`,
			Advice:      `The last log lines before the exit, the exit code (137 is a kill for memory), the last deploy: roll back.`,
			Dashboard:   FleetUID, Vars: instance,
		},
	}
}

// ours restricts a metric that every Go program has to programs with Loadline.
func ours(labels []string) string {
	return "\nand " + on(labels) + " last_over_time(" + buildInfo + "[6h])"
}
