package runtimemetrics

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// plain returns a snapshot of which nothing is known.
func plain(at time.Time) Snapshot {
	r := &reader{samples: make([]metrics.Sample, len(keys))}
	for i := range r.samples {
		r.samples[i].Name = "/no/such:metric"
	}
	var s Snapshot
	r.runtime(&s)
	s.Time = at
	return s
}

func TestNothingKnownIsNothingClaimed(t *testing.T) {
	begin := time.Now()
	a, b := plain(begin), plain(begin.Add(time.Second))
	v := view{Snapshot: b, last: b.Since(&a), sampled: true}
	for _, m := range table {
		if m.distribution != nil {
			if m.distribution(&v).Known() {
				t.Errorf("%s is known", m.Name)
			}
			continue
		}
		for _, s := range m.series {
			if got := s.value(&v); Known(got) {
				t.Errorf("%s%v = %v", m.Name, s.labels, got)
			}
		}
	}
}

func TestEachFigureOfADeltaIsTheGrowthOfItsCounter(t *testing.T) {
	begin := time.Now()
	a := plain(begin)
	a.Processors, a.SchedSampling = 4, 8
	a.SchedLatency, a.GCPause, a.OtherPause = Distribution{}, Distribution{}, Distribution{}
	a.MutexWait = 100
	a.Goroutines.Created = 1000
	a.CPU = CPU{GC: 1, GCAssist: .5, GCDedicated: .25, GCIdle: 1, Scavenge: 1}
	a.GC = GC{Cycles: 10, Forced: 2, Percent: 100, LimiterLast: 0}
	a.Memory = Memory{Allocated: 1e6, Allocations: 1e3, HeapLive: 100e6, HeapGoal: 200e6, Stack: 0, Limit: unknown}
	a.Process.CPUUser, a.Process.CPUSystem, a.Process.RunDelay = 10, 5, 1
	a.Process.ForcedSwitches, a.Process.VoluntarySwitches = 100, 200
	a.Container.CPU, a.Container.CPULimit = 15, 2
	a.Container.Periods, a.Container.ThrottledPeriods, a.Container.Throttled = 100, 10, 1
	a.Container.Pressure.CPUSome = 1
	a.Host = Host{CPUUser: 100, CPUSystem: 50, CPUIdle: 800, CPUIOWait: 50, CPUSteal: 0, Pressure: unknownPressure}

	b := a
	b.Time = begin.Add(10 * time.Second)
	for range 100 {
		b.SchedLatency.Observe(100 * time.Millisecond)
		b.GCPause.Observe(time.Millisecond)
	}
	b.MutexWait += 25
	b.Goroutines.Created += 50
	b.CPU = CPU{GC: 5, GCAssist: 1.5, GCDedicated: 2.25, GCIdle: 3, Scavenge: 1.4}
	b.GC.Cycles, b.GC.Forced, b.GC.LimiterLast = 30, 7, 25
	b.Memory.Allocated, b.Memory.Allocations = 101e6, 21e3
	b.Memory.HeapGoal, b.Memory.Limit = 110e6, 120e6
	b.Process.CPUUser, b.Process.CPUSystem, b.Process.RunDelay = 25, 10, 6
	b.Process.ForcedSwitches, b.Process.VoluntarySwitches = 600, 700
	b.Container.CPU, b.Container.Periods, b.Container.ThrottledPeriods, b.Container.Throttled = 25, 200, 40, 6
	b.Container.Pressure.CPUSome = 6
	b.Host.CPUUser, b.Host.CPUSystem, b.Host.CPUIdle, b.Host.CPUIOWait, b.Host.CPUSteal = 115, 60, 810, 50, 5

	d := b.Since(&a)
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"Interval", d.Interval.Seconds(), 10},
		{"SchedWait", d.SchedWait, 8},
		{"MutexWait", d.MutexWait, 2.5},
		{"GoroutinesPerSecond", d.GoroutinesPerSecond, 5},
		{"GCShare", d.GCShare, .1},
		{"GCAssist", d.GCAssist, .1},
		{"GCDedicatedShare", d.GCDedicatedShare, .05},
		{"GCIdleShare", d.GCIdleShare, .05},
		{"ScavengeShare", d.ScavengeShare, .01},
		{"PauseShare", d.PauseShare, .01},
		{"GCPerSecond", d.GCPerSecond, 2},
		{"ForcedGCPerSecond", d.ForcedGCPerSecond, .5},
		{"AllocatedPerSecond", d.AllocatedPerSecond, 10e6},
		{"AllocsPerSecond", d.AllocsPerSecond, 2e3},
		{"CPUShare", d.CPUShare, .5},
		{"CPUUser", d.CPUUser, 1.5},
		{"CPUSystem", d.CPUSystem, .5},
		{"RunDelay", d.RunDelay, .5},
		{"QuotaShare", d.QuotaShare, .5},
		{"Throttled", d.Throttled, .5},
		{"ThrottledShare", d.ThrottledShare, .3},
		{"HostBusyShare", d.HostBusyShare, .75},
		{"StealShare", d.StealShare, .125},
		{"ForcedSwitches", d.ForcedSwitches, 50},
		{"ContextSwitches", d.ContextSwitches, 100},
		{"ContainerPressure.CPUSome", d.ContainerPressure.CPUSome, .5},
	} {
		tolerance := 1e-9
		if c.name == "SchedWait" || c.name == "PauseShare" {
			tolerance = .1 * c.want // the middle of a bucket
		}
		if math.Abs(c.got-c.want) > tolerance || math.IsNaN(c.got) {
			t.Errorf("%s = %v, want %v", c.name, c.got, c.want)
		}
	}
	if Known(d.HostPressure.IOSome) || Known(d.MajorFaults) {
		t.Error("something unknown became known")
	}
	if !d.GCLimited || !d.HeapHeldDown {
		t.Errorf("limited %t, heap held down %t, want both", d.GCLimited, d.HeapHeldDown)
	}
	if p99 := d.SchedP99; p99 < 90*time.Millisecond || p99 > 120*time.Millisecond {
		t.Errorf("scheduler p99 %v", p99)
	}
}

func TestCounterThatBeganAnewSaysNothing(t *testing.T) {
	begin := time.Now()
	a, b := plain(begin), plain(begin.Add(time.Second))
	a.Container.Throttled, b.Container.Throttled = 100, 1 // moved to another cgroup
	if d := b.Since(&a); Known(d.Throttled) {
		t.Errorf("throttled %v", d.Throttled)
	}
	if d := a.Since(&a); Known(d.MutexWait) || Known(d.GCShare) {
		t.Error("an interval of no length has rates")
	}
}

func TestRuntimeWaysToSayNoLimitAreNotFigures(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	if s := Read(); Known(s.Memory.Limit) || Known(s.GC.Percent) {
		t.Errorf("no GOMEMLIMIT reads as %v, GOGC=off as %v", s.Memory.Limit, s.GC.Percent)
	}
	debug.SetMemoryLimit(1 << 40)
	debug.SetGCPercent(75)
	if s := Read(); s.Memory.Limit != 1<<40 || s.GC.Percent != 75 {
		t.Errorf("a GOMEMLIMIT of 1 TiB reads as %v, GOGC=75 as %v", s.Memory.Limit, s.GC.Percent)
	}
}

func TestThrottledShareIsZeroWhenNothingRan(t *testing.T) {
	begin := time.Now()
	a := plain(begin)
	a.Container.Periods, a.Container.ThrottledPeriods = 5, 2
	b := a
	b.Time = begin.Add(time.Second)
	if d := b.Since(&a); d.ThrottledShare != 0 {
		t.Errorf("throttled share %v", d.ThrottledShare)
	}
}

func TestThisRuntimeHasEveryMetricThatIsRead(t *testing.T) {
	r := newReader(false)
	var s Snapshot
	r.runtime(&s)
	for i, s := range r.samples {
		if s.Value.Kind() == metrics.KindBad {
			t.Errorf("%d: %q is not in runtime/metrics", i, s.Name)
		}
	}
}
