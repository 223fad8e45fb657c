package observe

import (
	"math"
	"time"

	"github.com/loadline-go/loadline/observe/doctor"
)

// usualHalfLife is after how many intervals what was usual counts half: five
// minutes at the default interval. A shorter memory would take a fault that
// creeps for what is usual; a longer one, the night for what the morning should
// be like. What is compared is per request anyway, which neither changes.
const usualHalfLife = 30

// usual is what happened in the healthy intervals before, the newer ones more.
// A window enters one interval late: the beginning of a fault, half of whose
// interval was healthy, is not usual.
type usual struct {
	sum     doctor.Window
	weight  float64 // intervals in sum
	next    doctor.Window
	waiting bool // next is to be entered
}

// add takes note of a window, healthy or not.
func (u *usual) add(w *doctor.Window, healthy bool) {
	if !healthy {
		u.waiting = false
		return
	}
	if u.waiting {
		u.enter(&u.next)
	}
	copyWindow(&u.next, w)
	u.waiting = true
}

// enter forgets a part of what was, and adds w.
func (u *usual) enter(w *doctor.Window) {
	if w.Interval <= 0 {
		return
	}
	keep := math.Exp2(-1.0 / usualHalfLife)
	u.weight = u.weight*keep + 1
	m := mixer{keep: keep, new: 1 / u.weight}
	s := &u.sum
	s.Time = w.Time
	s.Interval = time.Duration(float64(s.Interval)*keep) + w.Interval
	m.runtime(&s.Runtime, &w.Runtime)
	m.mean(&s.InFlight, w.InFlight)
	s.Routes = follow(s.Routes, w.Routes, func(a, b *doctor.Route) bool { return a.Route == b.Route })
	for i := range w.Routes {
		m.route(&s.Routes[i], &w.Routes[i])
	}
	s.Dependencies = follow(s.Dependencies, w.Dependencies, func(a, b *doctor.Dependency) bool { return a.Name == b.Name && a.Kind == b.Kind })
	for i := range w.Dependencies {
		a, b := &s.Dependencies[i], &w.Dependencies[i]
		a.Name, a.Kind = b.Name, b.Kind
		m.sum(&a.Calls, b.Calls)
		m.sum(&a.Errors, b.Errors)
		m.sum(&a.Seconds, b.Seconds)
		m.sum(&a.Retries, b.Retries)
		m.sum(&a.Connections, b.Connections)
		m.sum(&a.Connecting, b.Connecting)
		m.sum(&a.Waiting, b.Waiting)
		m.mean(&a.Active, b.Active)
		m.quantile(&a.P50, b.P50, b.Calls)
		m.quantile(&a.P99, b.P99, b.Calls)
	}
	s.Pools = follow(s.Pools, w.Pools, func(a, b *doctor.Pool) bool { return a.Name == b.Name })
	for i := range w.Pools {
		a, b := &s.Pools[i], &w.Pools[i]
		a.Name, a.Max = b.Name, b.Max
		m.mean(&a.InUse, b.InUse)
		m.mean(&a.Pending, b.Pending)
		m.mean(&a.Open, b.Open)
		m.mean(&a.Unclosed, b.Unclosed)
		m.sum(&a.Waits, b.Waits)
		m.sum(&a.WaitSeconds, b.WaitSeconds)
		m.sum(&a.Opened, b.Opened)
		m.sum(&a.Timeouts, b.Timeouts)
	}
	s.Queries = follow(s.Queries, w.Queries, func(a, b *doctor.Query) bool { return a.Summary == b.Summary && a.Pool == b.Pool })
	for i := range w.Queries {
		a, b := &s.Queries[i], &w.Queries[i]
		a.Pool, a.Summary = b.Pool, b.Summary
		m.sum(&a.Calls, b.Calls)
		m.sum(&a.Errors, b.Errors)
		m.sum(&a.Seconds, b.Seconds)
	}
	s.Jobs = follow(s.Jobs, w.Jobs, func(a, b *doctor.Job) bool { return a.Job == b.Job })
	for i := range w.Jobs {
		a, b := &s.Jobs[i], &w.Jobs[i]
		a.Job = b.Job
		m.sum(&a.Runs, b.Runs)
		m.sum(&a.Errors, b.Errors)
		m.sum(&a.Seconds, b.Seconds)
		m.sum(&a.WaitSeconds, b.WaitSeconds)
		m.mean(&a.Active, b.Active)
		m.mean(&a.CPU, b.CPU)
		m.mean(&a.Overdue, b.Overdue)
	}
	s.Queues = follow(s.Queues, w.Queues, func(a, b *doctor.Queue) bool { return a.Queue == b.Queue })
	for i := range w.Queues {
		a, b := &s.Queues[i], &w.Queues[i]
		a.Queue, a.Capacity = b.Queue, b.Capacity
		m.mean(&a.Length, b.Length)
		m.mean(&a.Before, b.Before)
		m.mean(&a.Oldest, b.Oldest)
		m.sum(&a.Added, b.Added)
		m.sum(&a.Taken, b.Taken)
		m.sum(&a.Blocked, b.Blocked)
	}
	s.Caches = follow(s.Caches, w.Caches, func(a, b *doctor.Cache) bool { return a.Cache == b.Cache })
	for i := range w.Caches {
		a, b := &s.Caches[i], &w.Caches[i]
		a.Cache = b.Cache
		m.sum(&a.Hits, b.Hits)
		m.sum(&a.Misses, b.Misses)
		m.sum(&a.Stampedes, b.Stampedes)
		m.sum(&a.LoadSeconds, b.LoadSeconds)
	}
	s.Leaks, s.Losses, s.Sites = append(s.Leaks[:0], w.Leaks...), append(s.Losses[:0], w.Losses...), nil
}

// window returns what is usual; it is good until the next add. Its Interval is
// zero while nothing is known.
func (u *usual) window() doctor.Window { return u.sum }

// mixer adds one window to the sum of those before.
type mixer struct{ keep, new float64 }

// sum is of counts and seconds: what is not known adds nothing.
func (m mixer) sum(to *float64, v float64) {
	if *to *= m.keep; v > 0 {
		*to += v
	}
}

// mean is of gauges and rates: what is not known changes nothing.
func (m mixer) mean(to *float64, v float64) {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
	case math.IsNaN(*to):
		*to = v
	default:
		*to += (v - *to) * m.new
	}
}

// quantile is a mean over the windows in which something was observed.
func (m mixer) quantile(to *float64, v, n float64) {
	switch {
	case !(n > 0) || math.IsNaN(v):
	case *to == 0:
		*to = v
	default:
		*to += (v - *to) * m.new
	}
}

func (m mixer) route(a, b *doctor.Route) {
	if a.Route == "" {
		a.CPU = math.NaN()
	}
	a.Route = b.Route
	m.sum(&a.Requests, b.Requests)
	m.sum(&a.Errors, b.Errors)
	m.sum(&a.Panics, b.Panics)
	m.sum(&a.Canceled, b.Canceled)
	m.sum(&a.Seconds, b.Seconds)
	m.sum(&a.Waited, b.Waited)
	m.sum(&a.Repeated, b.Repeated)
	if b.Query != "" {
		a.Query = b.Query
	}
	m.mean(&a.CPU, b.CPU)
	m.quantile(&a.P50, b.P50, b.Requests)
	m.quantile(&a.P99, b.P99, b.Requests)
	for i := range a.Parts {
		p := &a.Parts[i]
		p.Calls, p.Errors, p.Seconds = p.Calls*m.keep, p.Errors*m.keep, p.Seconds*m.keep
	}
	for _, p := range b.Parts {
		at := -1
		for i := range a.Parts {
			if a.Parts[i].Name == p.Name {
				at = i
				break
			}
		}
		if at < 0 {
			a.Parts = append(a.Parts, doctor.Part{Name: p.Name})
			at = len(a.Parts) - 1
		}
		to := &a.Parts[at]
		to.Calls, to.Errors, to.Seconds = to.Calls+p.Calls, to.Errors+p.Errors, to.Seconds+p.Seconds
	}
}

// runtime mixes the runtime's figures, all of which are gauges and rates.
func (m mixer) runtime(a, b *doctor.Runtime) {
	for _, f := range [...]struct {
		to *float64
		v  float64
	}{
		{&a.Processors, b.Processors}, {&a.CPUs, b.CPUs}, {&a.CPULimit, b.CPULimit}, {&a.CPU, b.CPU},
		{&a.SchedWait, b.SchedWait}, {&a.SchedMean, b.SchedMean}, {&a.SchedP99, b.SchedP99}, {&a.WakeupMean, b.WakeupMean}, {&a.WakeupP50, b.WakeupP50}, {&a.WakeupP99, b.WakeupP99},
		{&a.MutexWait, b.MutexWait}, {&a.GCShare, b.GCShare}, {&a.GCAssist, b.GCAssist}, {&a.GCPerSecond, b.GCPerSecond}, {&a.ForcedGC, b.ForcedGC},
		{&a.PauseShare, b.PauseShare}, {&a.AllocatedBytes, b.AllocatedBytes}, {&a.Throttled, b.Throttled}, {&a.ThrottledShare, b.ThrottledShare},
		{&a.RunDelay, b.RunDelay}, {&a.HostBusy, b.HostBusy}, {&a.HostOwn, b.HostOwn}, {&a.Steal, b.Steal}, {&a.CPUPressure, b.CPUPressure},
		{&a.IOPressure, b.IOPressure}, {&a.MemoryFree, b.MemoryFree}, {&a.HeapLive, b.HeapLive}, {&a.HeapBefore, b.HeapBefore}, {&a.HeapRoom, b.HeapRoom},
		{&a.Goroutines, b.Goroutines}, {&a.GoroutinesBefore, b.GoroutinesBefore}, {&a.Streams, b.Streams}, {&a.StreamsBefore, b.StreamsBefore}, {&a.Created, b.Created}, {&a.NotInGo, b.NotInGo},
		{&a.Threads, b.Threads}, {&a.Descriptors, b.Descriptors}, {&a.DescriptorsBefore, b.DescriptorsBefore}, {&a.DescriptorMax, b.DescriptorMax},
	} {
		if m.new == 1 { // the first
			*f.to = f.v
		} else {
			m.mean(f.to, f.v)
		}
	}
	a.GCLimited, a.HeapHeldDown, a.MemoryBy, a.MemoryAfter = b.GCLimited, b.HeapHeldDown, b.MemoryBy, b.MemoryAfter
}

// follow makes the elements of a stand where the same ones stand in b; what is in
// a alone goes. Mostly they stand there already.
func follow[T any](a, b []T, same func(a, b *T) bool) []T {
	straight := len(a) <= len(b)
	for i := 0; straight && i < len(a); i++ {
		straight = same(&a[i], &b[i])
	}
	if straight {
		if len(a) < len(b) {
			a = append(a, make([]T, len(b)-len(a))...)
		}
		return a
	}
	out := make([]T, len(b))
	for i := range b {
		for k := range a {
			if same(&a[k], &b[i]) {
				out[i] = a[k]
				break
			}
		}
	}
	return out
}

// copyWindow makes to a copy of w with lists of its own.
func copyWindow(to, w *doctor.Window) {
	old := *to
	*to = *w
	to.Routes = resize(old.Routes, len(w.Routes))
	for i := range w.Routes {
		parts := to.Routes[i].Parts
		to.Routes[i] = w.Routes[i]
		to.Routes[i].Parts = append(parts[:0], w.Routes[i].Parts...)
	}
	to.Dependencies = append(old.Dependencies[:0], w.Dependencies...)
	to.Pools = append(old.Pools[:0], w.Pools...)
	to.Queries = append(old.Queries[:0], w.Queries...)
	to.Jobs = append(old.Jobs[:0], w.Jobs...)
	to.Queues = append(old.Queues[:0], w.Queues...)
	to.Caches = append(old.Caches[:0], w.Caches...)
	to.Leaks = append(old.Leaks[:0], w.Leaks...)
	to.Losses = append(old.Losses[:0], w.Losses...)
	to.Sites = append(old.Sites[:0], w.Sites...)
}
