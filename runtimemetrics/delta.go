package runtimemetrics

import "time"

// A Delta is what happened between two snapshots. Rates are per second of
// Interval; "goroutine-seconds per second" is the mean number of goroutines
// that were doing it at any moment, so such figures can be added and compared.
// Shares run from 0 to 1. A figure without a source is NaN, see [Known].
type Delta struct {
	Time     time.Time     // when the interval ended
	Interval time.Duration //
	Now      Snapshot      // the reading at the end, for gauges

	// Scheduler latency: how long goroutines that were ready waited to run.
	// The percentiles are 0 when nothing was recorded (Sched.Count() is 0).
	Sched               Distribution
	SchedP50            time.Duration
	SchedP95            time.Duration
	SchedP99            time.Duration
	SchedWait           float64 // goroutine-seconds per second ready but not running
	GoroutinesPerSecond float64 // created

	// Lateness of the wake-up probe; unknown and 0 without a probe.
	Wakeup    Distribution
	WakeupP50 time.Duration
	WakeupP95 time.Duration
	WakeupP99 time.Duration

	MutexWait float64 // goroutine-seconds per second blocked on locks

	// The garbage collector. Shares are of the time of all processors
	// (GOMAXPROCS times Interval), booked when a cycle ends.
	GCShare            float64 // all of its CPU time
	GCAssist           float64 // goroutine-seconds per second that allocating goroutines were made to help
	GCDedicatedShare   float64
	GCIdleShare        float64 // on processors that had nothing else to do: costs nobody
	ScavengeShare      float64
	GCPause            Distribution
	GCPauseP99         time.Duration
	OtherPause         Distribution
	OtherPauseP99      time.Duration
	PauseShare         float64 // of the interval, the world was stopped for any reason
	GCPerSecond        float64 // cycles
	ForcedGCPerSecond  float64 // cycles
	GCLimited          bool    // the GC CPU limiter was on: a death spiral at the memory limit
	AllocatedPerSecond float64 // bytes
	AllocsPerSecond    float64 // objects
	HeapHeldDown       bool    // GOMEMLIMIT, not GOGC, sets the heap goal

	// The processors.
	CPUShare        float64 // the process's CPU time, of GOMAXPROCS
	CPUUser         float64 // seconds per second (cores)
	CPUSystem       float64 // cores
	RunDelay        float64 // thread-seconds per second that the kernel kept ready threads waiting
	QuotaShare      float64 // the cgroup's CPU time, of its limit
	Throttled       float64 // seconds per second, over all CPUs of the cgroup
	ThrottledShare  float64 // of the enforcement periods
	HostBusyShare   float64 // of the host's CPUs
	StealShare      float64 // of the host's CPUs
	ForcedSwitches  float64 // per second
	ContextSwitches float64 // per second, of both kinds
	MajorFaults     float64 // per second

	// Shares of the interval that tasks of the cgroup, of the host, waited.
	ContainerPressure Pressure
	HostPressure      Pressure

	Headroom Headroom
}

func newDelta(prev, now *Snapshot) Delta {
	d := Delta{Time: now.Time, Interval: now.Time.Sub(prev.Time), Now: *now}
	seconds := d.Interval.Seconds()
	if seconds <= 0 {
		seconds = unknown // no time passed: no rates
	}
	rate := func(now, before float64) float64 { return grown(now, before) / seconds }
	capacity := now.Processors * seconds

	d.Sched = now.SchedLatency.Since(&prev.SchedLatency)
	d.SchedP50, d.SchedP95, d.SchedP99 = d.Sched.Quantile(.50), d.Sched.Quantile(.95), d.Sched.Quantile(.99)
	d.SchedWait = known(&d.Sched, d.Sched.seconds()*now.SchedSampling/seconds)
	d.GoroutinesPerSecond = rate(now.Goroutines.Created, prev.Goroutines.Created)

	d.Wakeup = now.Wakeup.Since(&prev.Wakeup)
	d.WakeupP50, d.WakeupP95, d.WakeupP99 = d.Wakeup.Quantile(.50), d.Wakeup.Quantile(.95), d.Wakeup.Quantile(.99)

	d.MutexWait = rate(now.MutexWait, prev.MutexWait)

	d.GCShare = share(grown(now.CPU.GC, prev.CPU.GC), capacity)
	d.GCAssist = rate(now.CPU.GCAssist, prev.CPU.GCAssist)
	d.GCDedicatedShare = share(grown(now.CPU.GCDedicated, prev.CPU.GCDedicated), capacity)
	d.GCIdleShare = share(grown(now.CPU.GCIdle, prev.CPU.GCIdle), capacity)
	d.ScavengeShare = share(grown(now.CPU.Scavenge, prev.CPU.Scavenge), capacity)
	d.GCPause = now.GCPause.Since(&prev.GCPause)
	d.GCPauseP99 = d.GCPause.Quantile(.99)
	d.OtherPause = now.OtherPause.Since(&prev.OtherPause)
	d.OtherPauseP99 = d.OtherPause.Quantile(.99)
	d.PauseShare = share(known(&d.GCPause, d.GCPause.seconds()+d.OtherPause.seconds()), seconds)
	d.GCPerSecond = rate(now.GC.Cycles, prev.GC.Cycles)
	d.ForcedGCPerSecond = rate(now.GC.Forced, prev.GC.Forced)
	// Cycle 0 means never. The limiter is read after the cycles, so the cycle
	// under way counts too.
	d.GCLimited = now.GC.LimiterLast > 0 && now.GC.LimiterLast > prev.GC.Cycles
	d.AllocatedPerSecond = rate(now.Memory.Allocated, prev.Memory.Allocated)
	d.AllocsPerSecond = rate(now.Memory.Allocations, prev.Memory.Allocations)
	d.HeapHeldDown = heapHeldDown(now)

	d.CPUUser = rate(now.Process.CPUUser, prev.Process.CPUUser)
	d.CPUSystem = rate(now.Process.CPUSystem, prev.Process.CPUSystem)
	d.CPUShare = share(d.CPUUser+d.CPUSystem, now.Processors)
	d.RunDelay = rate(now.Process.RunDelay, prev.Process.RunDelay)
	d.QuotaShare = share(rate(now.Container.CPU, prev.Container.CPU), now.Container.CPULimit)
	d.Throttled = rate(now.Container.Throttled, prev.Container.Throttled)
	d.ThrottledShare = throttledShare(now, prev)
	busy := grown(now.Host.CPUUser, prev.Host.CPUUser) + grown(now.Host.CPUSystem, prev.Host.CPUSystem)
	steal := grown(now.Host.CPUSteal, prev.Host.CPUSteal)
	idle := now.Host.CPUIdle + now.Host.CPUIOWait - prev.Host.CPUIdle - prev.Host.CPUIOWait
	d.HostBusyShare = share(busy+steal, busy+steal+max(idle, 0))
	d.StealShare = share(steal, busy+steal+max(idle, 0))
	d.ForcedSwitches = rate(now.Process.ForcedSwitches, prev.Process.ForcedSwitches)
	d.ContextSwitches = d.ForcedSwitches + rate(now.Process.VoluntarySwitches, prev.Process.VoluntarySwitches)
	d.MajorFaults = rate(now.Process.MajorFaults, prev.Process.MajorFaults)

	d.ContainerPressure = pressureShares(&now.Container.Pressure, &prev.Container.Pressure, seconds)
	d.HostPressure = pressureShares(&now.Host.Pressure, &prev.Host.Pressure, seconds)

	d.Headroom = newHeadroom(now)
	return d
}

func known(d *Distribution, v float64) float64 {
	if d.unknown {
		return unknown
	}
	return v
}

// throttledShare is 0, not unknown, when no period passed: then nothing of the
// cgroup ran, and nothing was throttled.
func throttledShare(now, prev *Snapshot) float64 {
	periods := grown(now.Container.Periods, prev.Container.Periods)
	throttled := grown(now.Container.ThrottledPeriods, prev.Container.ThrottledPeriods)
	if periods == 0 {
		return 0
	}
	return share(throttled, periods)
}

// heapHeldDown compares the goal with the one that GOGC alone would set, live
// heap plus GOGC percent of it and of the stacks that are scanned. A fifth below
// it, with a limit set, only the limit can be the reason. With GOGC off the
// limit is always the reason.
func heapHeldDown(s *Snapshot) bool {
	if !Known(s.Memory.Limit) {
		return false
	}
	if !Known(s.GC.Percent) {
		return s.GC.Cycles > 0
	}
	return s.Memory.HeapGoal < 0.8*s.Memory.HeapLive*(1+s.GC.Percent/100)
}

func pressureShares(now, prev *Pressure, seconds float64) Pressure {
	return Pressure{
		CPUSome:    share(grown(now.CPUSome, prev.CPUSome), seconds),
		CPUFull:    share(grown(now.CPUFull, prev.CPUFull), seconds),
		MemorySome: share(grown(now.MemorySome, prev.MemorySome), seconds),
		MemoryFull: share(grown(now.MemoryFull, prev.MemoryFull), seconds),
		IOSome:     share(grown(now.IOSome, prev.IOSome), seconds),
		IOFull:     share(grown(now.IOFull, prev.IOFull), seconds),
	}
}

// delay is a percentile of scheduler latency for the collector: absent when
// there was no interval, or nothing was recorded in it.
func (d *Delta) delay(sampled bool, q float64) float64 {
	if !sampled || d.Sched.Count() == 0 {
		return unknown
	}
	return d.Sched.Quantile(q).Seconds()
}
