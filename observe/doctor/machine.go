package doctor

import (
	"fmt"
	"math"
	"strings"
)

const (
	// The kernel enforces a quota by periods of 100 ms: one in ten that ran out is
	// felt by every request that is longer than a second, half a second a minute by
	// any.
	throttledPeriods = 0.10
	throttledSeconds = 0.05
	// Of all processors: what others took more than they usually do.
	othersMore = 0.15
	busyHost   = 0.85
	// Of what the processors could do: so much that the kernel runs others instead is
	// as much as others must take to be told (othersMore).
	keptBack = 0.15
	// From here on a queue grows faster than its load (M/M/c, two processors: the wait is as
	// long as the work at 0.7).
	busyProcessors = 0.70
	// Of the collector: GOGC=100 costs a few per cent, a quarter is what it takes at most without assists
	// (gcBackgroundUtilization in runtime/mgcpacer.go).
	gcShare = 0.12
	// A repeated stop of all goroutines.
	pauseShare = 0.03
	// For whom the CPU goes up, he is the one.
	burnerShare = 0.5
)

// starved reports whether waiting for processors explains enough of the harm.
func (d *diagnosis) starved() bool { return d.worthy(d.ready) }

// owned is how much of what the processors' absence explains lies in the routes
// themselves: they and their dependencies' answers wait alike.
func (d *diagnosis) owned(part float64) float64 {
	return min(d.own, max(part-d.ready, 0)+d.ready*share(d.self, d.harm))
}

// machine names what takes the processors away from outside.
func (d *diagnosis) machine() {
	rt, was := &d.rt, &d.was
	throttled := over(rt.Throttled, was.Throttled)
	periods := over(rt.ThrottledShare, was.ThrottledShare)
	if throttled >= throttledSeconds && periods >= throttledPeriods {
		part := max(d.ready, min(d.harm, throttled*max(d.load, 1)))
		proof := []Proof{
			{"observe_container_cpu_throttled_seconds_total", throttled, throttledSeconds, fmt.Sprintf("the cgroup's threads were stopped for %s seconds per second, in %s of the periods", num(throttled), pct(periods))},
			d.readyProof(),
		}
		use := share(max0(rt.CPU), max0(rt.CPULimit))
		// The runtime takes two at the least (adjustCgroupGOMAXPROCS in runtime/cgroup_linux.go).
		if rt.Processors > 2 && rt.Processors >= 1.5*math.Ceil(max0(rt.CPULimit)) && rt.CPULimit > 0 && use < 0.8 {
			d.explain(part, d.owned(part), Finding{Cause: GOMAXPROCSWrong, Subject: fmt.Sprintf("GOMAXPROCS=%.0f", rt.Processors), Confidence: 0.8,
				Summary: fmt.Sprintf("GOMAXPROCS is %.0f on a quota of %s cores: bursts spend it early and everything stops until the next period", rt.Processors, num(rt.CPULimit)),
				Proof:   proof})
			return
		}
		d.explain(part, d.owned(part), Finding{Cause: CPUThrottled, Confidence: 0.95,
			Summary: fmt.Sprintf("the container's CPU quota of %s cores is used up and the kernel stops the process", num(rt.CPULimit)), Proof: proof})
		return
	}
	// What the kernel makes threads wait is the time of requests that, to Go, run.
	kept := min(d.ready+min(max0(over(rt.RunDelay, was.RunDelay)), d.own), d.harm)
	if !d.worthy(kept) {
		return
	}
	capacity := d.capacity()
	used := rt.CPU / capacity
	if idle := min(nonzero(rt.CPUs), nonzero(rt.CPULimit)) - rt.Processors; d.starved() && used >= 0.85 && idle >= 0.9 && !(rt.HostBusy > busyHost && max0(rt.RunDelay) >= keptBack*max0(rt.Processors)) {
		d.explain(d.ready, d.owned(d.ready), Finding{Cause: GOMAXPROCSWrong, Subject: fmt.Sprintf("GOMAXPROCS=%.0f", rt.Processors), Confidence: 0.85,
			Summary: fmt.Sprintf("GOMAXPROCS is %.0f and all of it is busy, while %s more cores could be used", rt.Processors, num(idle)),
			Proof:   []Proof{{"go_processor_limit", rt.Processors, rt.Processors + idle, fmt.Sprintf("%s of %s processors may run Go code", num(rt.Processors), num(rt.Processors+idle))}, d.readyProof()}})
		return
	}
	if d.starved() && d.fewer() && used >= 0.8 { // whatever else the host does
		d.explain(d.ready, d.owned(d.ready), d.fewerFinding())
		return
	}
	others := max0(rt.HostBusy-rt.HostOwn) + max0(rt.Steal)
	more := over(others, max0(was.HostBusy-was.HostOwn)+max0(was.Steal))
	ownMore := over(rt.HostOwn, was.HostOwn)
	busy := rt.HostBusy >= busyHost || rt.Steal >= othersMore
	// Where the host's account is hidden, or others always fill what is left of it,
	// threads that wait while this process uses little tell the same.
	delayed := used < 0.6 && max0(over(rt.RunDelay, was.RunDelay)) >= max(0.5, max0(rt.CPU))
	grown := fmt.Sprintf("%s more than usual", pct(more))
	if d.past == 0 {
		grown = "as ever, as far as is known"
	}
	if delayed && !(more >= othersMore) && (!(rt.HostBusy > 0) || busy && others >= rt.HostOwn) {
		busy, more, grown = true, max(othersMore, 2*max0(ownMore)), "as they may always"
	}
	// What loads this service from the same host rises with the requests.
	if busy && more >= othersMore && more > 1.5*max0(ownMore) && d.surge() < 1.4 && d.perRequest() < 1.4 {
		d.explain(kept, d.owned(kept), Finding{Cause: NoisyNeighbour, Confidence: 0.8,
			Summary: fmt.Sprintf("others use %s of the host's processors, %s, and this process waits for its own", pct(others), grown),
			Proof: []Proof{
				{"system_cpu_time_seconds_total", others, othersMore, fmt.Sprintf("others use %s of the host's processors, this process %s", pct(others), pct(max0(rt.HostOwn)))},
				{"observe_run_delay_seconds_total", max0(rt.RunDelay), math.NaN(), fmt.Sprintf("threads wait %s seconds per second for the kernel", num(max0(rt.RunDelay)))},
				d.readyProof(),
			}})
	}
}

// fewer reports whether less processors may run Go code than did: what is usual is a
// mean, in which there may be some of the present already.
func (d *diagnosis) fewer() bool { return d.was.Processors-d.rt.Processors >= 0.5 }

func (d *diagnosis) fewerFinding() Finding {
	now, was := d.rt.Processors, math.Ceil(d.was.Processors)
	return Finding{Cause: GOMAXPROCSWrong, Subject: fmt.Sprintf("GOMAXPROCS=%.0f", now), Confidence: 0.85,
		Summary: fmt.Sprintf("GOMAXPROCS went from %.0f to %.0f, and all of it is busy", was, now),
		Proof:   []Proof{{"go_processor_limit", now, was, fmt.Sprintf("%.0f processors may run Go code (usually %.0f); %s are in use", now, was, num(max0(d.rt.CPU)))}, d.readyProof()}}
}

func nonzero(v float64) float64 {
	if v > 0 {
		return v
	}
	return math.Inf(1)
}

func (d *diagnosis) readyProof() Proof {
	return Proof{"observe_schedule_wait_seconds_total", max0(d.rt.SchedWait), max0(d.was.SchedWait),
		fmt.Sprintf("%s goroutines are ready and wait for a processor (usually %s); p99 %s, a sleeper wakes %s late (p99)",
			num(max0(d.rt.SchedWait)), num(max0(d.was.SchedWait)), dur(max0(d.rt.SchedP99)), dur(max0(d.rt.WakeupP99)))}
}

// collector blames the garbage collector and others who stop the world.
func (d *diagnosis) collector() {
	rt, was := &d.rt, &d.was
	gc := max0(over(rt.GCShare, was.GCShare))
	forced := over(rt.ForcedGC, was.ForcedGC)
	paused := max0(over(rt.PauseShare, was.PauseShare))
	used := share(max0(rt.CPU), max0(rt.Processors))
	part := max0(over(rt.GCAssist, was.GCAssist)) + d.ready + d.self
	proof := []Proof{
		{"observe_gc_cpu_seconds_total", max0(rt.GCShare), gcShare, fmt.Sprintf("the collector takes %s of the processors (usually %s) in %s cycles per second", pct(max0(rt.GCShare)), pct(max0(was.GCShare)), num(max0(rt.GCPerSecond)))},
	}
	full := rt.MemoryBy == "gomemlimit" && rt.MemoryFree < noMemory // then it need not be more than usual
	cyclesUp := rt.GCPerSecond >= 2 && (rt.GCPerSecond >= 3*max0(was.GCPerSecond) || full)
	switch {
	case forced >= 1 && rt.ForcedGC >= 0.5*rt.GCPerSecond:
		part = max(part, d.harm)
		d.explain(part, d.owned(part), Finding{Cause: GCForced, Confidence: 0.95,
			Summary: fmt.Sprintf("somebody forces %s garbage collections per second", num(rt.ForcedGC)),
			Proof:   append(proof, Proof{"observe_gc_forced_cycles_total", rt.ForcedGC, 1, num(rt.ForcedGC) + " forced cycles per second"})})
	case rt.HeapHeldDown && (rt.GCLimited || cyclesUp) && gc >= gcShare: // the limiter alone only says that it takes half of the CPU (runtime/mgclimit.go)
		d.explain(part, d.owned(part), Finding{Cause: GCMemoryLimit, Confidence: 0.95,
			Summary: fmt.Sprintf("the live heap of %.0f MiB is at the memory limit: the collector runs %s times per second and frees little", max0(rt.HeapLive)/(1<<20), num(max0(rt.GCPerSecond))),
			Proof: append(proof, Proof{"observe_memory_headroom_ratio", max0(rt.MemoryFree), math.NaN(), pct(max0(rt.MemoryFree)) + " of the limit is free; GOMEMLIMIT, not GOGC, sets the goal"},
				Proof{"go_memory_allocated_bytes_total", max0(rt.AllocatedBytes), math.NaN(), fmt.Sprintf("%.0f MB are allocated per second", max0(rt.AllocatedBytes)/1e6)})})
	case gc >= gcShare && gc >= 0.25*used:
		alloc, top := d.sites(Allocates)
		if alloc == 0 {
			d.want(Allocates)
		}
		f := Finding{Cause: GCAllocation, Subject: top.Function, Confidence: 0.85,
			Summary: fmt.Sprintf("%.0f MB are allocated per second, and collecting takes %s of the processors", max0(rt.AllocatedBytes)/1e6, pct(max0(rt.GCShare))),
			Proof:   append(proof, Proof{"go_memory_allocated_bytes_total", max0(rt.AllocatedBytes), max0(was.AllocatedBytes), fmt.Sprintf("%.0f MB allocated per second (usually %.0f MB)", max0(rt.AllocatedBytes)/1e6, max0(was.AllocatedBytes)/1e6)})}
		if alloc > 0 {
			f.Proof = append(f.Proof, Proof{"allocs profile", max0(top.Weight), math.NaN(), fmt.Sprintf("%s allocates %s of the bytes", top.Function, pct(share(max0(top.Weight), alloc)))})
		}
		d.explain(part, d.owned(part), f)
	// Where the kernel runs others, stopping takes long because the threads to be stopped do not run.
	case paused >= pauseShare && paused >= 0.15*max0(rt.RunDelay):
		d.explain(max(part, paused*d.load), d.owned(max(part, paused*d.load)), Finding{Cause: StopTheWorld, Confidence: 0.8,
			Summary: fmt.Sprintf("all goroutines are stopped for %s of the time", pct(max0(rt.PauseShare))),
			Proof:   []Proof{{"observe_other_pause_duration_seconds", max0(rt.PauseShare), pauseShare, fmt.Sprintf("the world is stopped for %s of the time, by others than the collector", pct(max0(rt.PauseShare)))}}})
	}
}

// processors blames whoever uses the processors of this process.
func (d *diagnosis) processors() {
	rt := &d.rt
	// Of a host that is full, it is this process that fills it.
	busy := rt.CPU/d.capacity() >= busyProcessors || rt.HostBusy >= busyHost && rt.HostOwn >= 0.5*rt.HostBusy
	// Where others take their part, what it would use is what it used and waited for;
	// that it is more than usual, and not for them alone, is in the CPU of a request.
	if rt.CPU+rt.RunDelay >= 0.85*d.capacity() && (d.perRequest() >= 1.4 || d.surge() >= 1.4) {
		busy = true
	}
	rise := max0(over(rt.CPU, d.was.CPU))
	who, cores := d.burner()
	use := d.computes()
	if rt.HostBusy >= busyHost && d.perRequest() >= 1.4 && use >= 0.3*d.capacity() {
		busy = true
	}
	part := d.ready
	disk, _ := d.sites(Disk) // writing takes the kernel's CPU, too
	own := max(d.self-disk, 0)
	switch {
	case d.starved() && busy:
		part += min(own, use) // and what it computes itself
	case cores >= 0.1 && cores >= burnerShare*rise && (d.starved() || d.worthy(own)):
		part += min(own, use) // it harms but its own requests
	case over(rt.MutexWait, d.was.MutexWait) > use && !d.starved():
		return // who computes while others wait for his lock, costs them the wait
	case d.worthy(min(own, use, d.own)) && (d.perRequest() >= 1.4 || d.surge() >= 1.4) && d.slowest() == "" && !(over(rt.IOPressure, d.was.IOPressure) >= 0.2):
		part = min(own, use, d.own) // all compute more, and nobody has most of it
	default:
		// Of what requests take longer in their own code, as much may be computing as the
		// process computes more: a profile of before does not know whose it is.
		if total, _ := d.sites(OnCPU, Timers, Scheduler); total == 0 && d.worthy(min(own, use)) {
			d.want(OnCPU)
		}
		return
	}
	proof := []Proof{{"process_cpu_time_seconds_total", max0(rt.CPU), busyProcessors * d.capacity(),
		fmt.Sprintf("%s of %s cores are used, %s more than usual", num(max0(rt.CPU)), num(d.capacity()), num(rise))}, d.readyProof()}
	timers, _ := d.sites(Timers)
	total, _ := d.sites(OnCPU, Timers, Scheduler)
	if total == 0 {
		d.want(OnCPU) // the profiles of every minute may be of before
	}
	looping, loop, looped := d.loops(who)
	switch {
	case d.writes():
		_, at := d.sites(Disk)
		pressure := max0(over(rt.IOPressure, d.was.IOPressure))
		d.explain(part, d.owned(part), Finding{Cause: DiskStall, Subject: at.Function, Confidence: 0.85,
			Summary: fmt.Sprintf("%s goroutines of requests at a time wait for a disk in %s, and what the kernel computes for it fills the processors", num(disk), at.Function),
			Proof: append(proof, Proof{"observe_pressure_waiting_seconds_total", pressure, 0.2, fmt.Sprintf("somebody waits for a disk for %s of the time, beyond the usual", pct(pressure))},
				Proof{"goroutine samples", disk, math.NaN(), fmt.Sprintf("%s wait for a disk; most of the CPU is used in the same function", num(disk))})})
	case timers >= 0.25*total && timers > 0:
		d.explain(part, d.owned(part), Finding{Cause: TimerStorm, Confidence: 0.8,
			Summary: fmt.Sprintf("the runtime's timers take %s of the CPU in use", pct(share(timers, total))),
			Proof:   append(proof, Proof{"CPU profile", timers, 0.25 * total, num(timers) + " cores run timers"})})
	case d.surge() >= 1.4 && d.perRequest() < 1.4:
		d.explain(part, d.owned(part), Finding{Cause: TrafficSurge, Confidence: 0.85,
			Summary: fmt.Sprintf("%s requests per second arrive, %s times the usual, and the processors are full", num(d.rate), num(d.surge())),
			Proof:   append(proof, Proof{"http_server_request_duration_seconds", d.rate, d.usualRate, fmt.Sprintf("%s requests per second (usually %s)", num(d.rate), num(d.usualRate))})})
	case d.fewer() && rt.CPU >= busyProcessors*d.capacity():
		d.explain(part, d.owned(part), d.fewerFinding())
	case looped && cores >= burnerShare*rise:
		d.explain(part, d.owned(part), Finding{Cause: RepeatedQueries, Subject: who, Confidence: 0.9,
			Summary: fmt.Sprintf("a request of %s makes %s %s of %s (usually %s)", who, num(loop.calls), looping.queries(), loop.name, num(loop.before)),
			Proof: append(proof, Proof{"observe_db_repeated_queries_total", looping.Repeated, 0.5 * looping.Requests,
				fmt.Sprintf("%s calls for each request, which computes on %s cores for them, beyond the usual", num(loop.calls), num(cores))})})
	case cores >= burnerShare*rise && cores >= 0.3*max0(rt.CPU) && cores > 0:
		d.explain(part, d.owned(part), Finding{Cause: CPUBurner, Subject: who, Confidence: 0.85,
			Summary: fmt.Sprintf("%s computes on %s of the %s cores in use", who, num(cores), num(max0(rt.CPU))),
			Proof:   append(proof, Proof{"observe_cpu_seconds_total", cores, burnerShare * rise, fmt.Sprintf("%s cores more than usual, of %s that all use more", num(cores), num(rise))})})
	default:
		state := "the processors are full"
		if rt.CPU/d.capacity() < busyProcessors {
			if state = "the host's processors are full"; !busy || !(rt.HostBusy >= busyHost) {
				state = "requests compute more than usual"
			}
		}
		d.explain(part, d.owned(part), Finding{Cause: CPUSaturated, Confidence: 0.7,
			Summary: fmt.Sprintf("%s: %s of %s cores in use, and no route or job has most of it", state, num(max0(rt.CPU)), num(d.capacity())), Proof: proof})
	}
}

// loops finds the calls of a route that are many where they were few: a route that
// computes more because of them is no burner of its own.
func (d *diagnosis) loops(route string) (r *routeFigures, p partFigures, ok bool) {
	for i := range d.routes {
		r := &d.routes[i]
		if r.Route.Route != route || r.was == nil || share(max0(r.Repeated), r.Requests) < 0.5 {
			continue
		}
		for _, p := range r.parts {
			if p.calls >= loopCalls && p.calls >= 2*p.before {
				return r, p, true
			}
		}
	}
	return nil, p, false
}

// writes reports whether most of the CPU is used by the function that most wait for
// a disk in: then it is the kernel that computes, for the disk.
func (d *diagnosis) writes() bool {
	disk, at := d.sites(Disk)
	cpu, _ := d.sites(OnCPU)
	if disk == 0 || !(over(d.rt.IOPressure, d.was.IOPressure) >= 0.2) {
		return false
	}
	same := 0.0
	for _, s := range d.now.Sites {
		if s.Kind == OnCPU && functionOf(s.Function) == functionOf(at.Function) {
			same += max0(s.Weight)
		}
	}
	return same > 0 && same >= burnerShare*cpu
}

// functionOf is a site's function without its line.
func functionOf(site string) string {
	function, _, _ := strings.Cut(site, " (")
	return function
}

// computes is what the process would use of the processors beyond the usual, in
// cores: what it used, and what its threads waited for the kernel, of which Go knows
// nothing: a goroutine that the kernel stopped runs.
func (d *diagnosis) computes() float64 {
	return max0(over(d.rt.CPU, d.was.CPU)) + max0(over(d.rt.RunDelay, d.was.RunDelay))
}

// weather tells of waiting for processors that is left when all others were blamed:
// others use them, and no more of them than usual.
func (d *diagnosis) weather() {
	if others := max0(d.rt.HostBusy - d.rt.HostOwn); d.rt.HostBusy >= busyHost && others >= 0.5*d.rt.HostBusy && d.perRequest() < 1.4 && d.worthy(min(d.ready, d.left)) {
		before := len(d.findings)
		for i := range d.findings {
			if d.findings[i].Cause == NoisyNeighbour {
				return
			}
		}
		d.explain(d.ready, d.owned(d.ready), Finding{Cause: NoisyNeighbour, Confidence: 0.5,
			Summary: fmt.Sprintf("others use %s of the host's processors, as they usually do, and this process needs more than is left", pct(others)),
			Proof:   []Proof{{"system_cpu_time_seconds_total", others, 0.5, fmt.Sprintf("others use %s of the host's processors, this process %s", pct(others), pct(max0(d.rt.HostOwn)))}, d.readyProof()}})
		for i := range d.findings[before:] { // nobody can be called for what is always so
			if f := &d.findings[before+i]; f.Level == Page {
				f.Level = Ticket
			}
		}
	}
}

// perRequest is the CPU a request now for each second of CPU it usually took.
func (d *diagnosis) perRequest() float64 {
	if !(d.was.CPU > 0) || !(d.usualRate > 0) || !(d.rate > 0) {
		return 1
	}
	return (max0(d.rt.CPU) / d.rate) / (d.was.CPU / d.usualRate)
}

// burner finds the route, job or function whose CPU use rose most.
func (d *diagnosis) burner() (who string, cores float64) {
	// Where nothing is known of what somebody used to use, that was his part of it all.
	used := 0.0
	if d.was.CPU > 0 && d.rt.CPU > 0 {
		used = min(d.was.CPU/d.rt.CPU, 1)
	}
	try := func(name string, now, usual float64) {
		if math.IsNaN(usual) {
			usual = now * used
		}
		if more := max0(over(now, usual)); more > cores {
			who, cores = name, more
		}
	}
	// A profile taken for this diagnosis knows better than one of a minute ago.
	routes, none := map[string]float64{}, map[string]float64{}
	for _, s := range d.now.Sites {
		switch {
		case s.Kind != OnCPU:
		case s.Route != "":
			routes[labelOf(s.Route)] += max0(s.Weight)
		default:
			none[s.Function] += max0(s.Weight)
		}
	}
	if len(routes)+len(none) > 0 {
		// A short profile knows the shares; how much it was in all, the process's account.
		if total, _ := d.sites(OnCPU, Timers, Scheduler); total > 0 && d.rt.CPU > total {
			up := d.rt.CPU / total
			for k := range routes {
				routes[k] *= up
			}
			for k := range none {
				none[k] *= up
			}
		}
		for i := range d.now.Routes {
			r := &d.now.Routes[i]
			if now := min(routes[labelOf(r.Route)], d.mayCompute(r, i)); now > 0 {
				try(r.Route, now, d.usualCPU(r.Route, i))
			}
		}
		for _, j := range d.now.Jobs {
			if now := routes[labelOf(j.Job)]; now > 0 {
				try(j.Job, now, math.NaN())
			}
		}
		for _, s := range d.now.Sites { // in the list's order, not the map's
			if s.Kind == OnCPU && s.Route == "" && s.Function != "" {
				try(s.Function, none[s.Function], math.NaN())
			}
		}
		return who, cores
	}
	for i := range d.now.Routes {
		r := &d.now.Routes[i]
		try(r.Route, min(max0(r.CPU), d.mayCompute(r, i)), d.usualCPU(r.Route, i))
	}
	for _, j := range d.now.Jobs {
		usual := 0.0
		for _, w := range d.usual.Jobs {
			if w.Job == j.Job {
				usual = max0(w.CPU)
			}
		}
		try(j.Job, max0(j.CPU), usual)
	}
	return who, cores
}

// mayCompute is what a route can compute, in cores, as its requests take their own
// time for that: a profile of before, or a short one, may say more. As much again
// is for what they compute beside themselves.
func (d *diagnosis) mayCompute(r *Route, place int) float64 {
	was := d.usualRoute(r.Route, place)
	if was == nil || r.Requests < minRequests {
		return math.Inf(1)
	}
	more := max(r.Requests/d.seconds-was.Requests/d.past, 0) * share1(r.Seconds, r.Requests)
	for i := range d.routes {
		if d.routes[i].Route == r {
			more += 2 * d.routes[i].self
		}
	}
	usual := was.CPU
	if math.IsNaN(usual) { // then it is all it can be
		usual = max(max0(was.Seconds)-max0(was.Waited), 0) / d.past
	}
	return usual + more
}

func (d *diagnosis) usualCPU(route string, place int) float64 {
	if w := d.usualRoute(route, place); w != nil {
		return w.CPU
	}
	return math.NaN()
}

// labelOf is a route without its method, as profiles are labelled.
func labelOf(route string) string {
	if _, path, ok := strings.Cut(route, " "); ok && strings.HasPrefix(path, "/") {
		return path
	}
	return route
}
