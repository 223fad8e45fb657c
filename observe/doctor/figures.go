package doctor

import (
	"math"
	"time"
)

const (
	// Below a second a mean rests on nothing; beyond an hour it hides everything.
	minInterval = time.Second
	maxInterval = time.Hour
	// The mean of fewer requests says more of them than of the route.
	minRequests = 5
	// What hurts: requests of a route that take half as long again, and a
	// millisecond longer. Less is weather.
	slowerBy  = 1.3
	slowerMin = 0.001
	// Whom to wake: requests that take twice their usual time and 20 ms more, which
	// people and timeouts begin to notice.
	pageBy  = 2.0
	pageMin = 0.020
	// Slow by any measure, where no usual time is known: responses beyond 0.1 s are
	// felt, beyond 1 s interrupt (Nielsen, Usability Engineering, 1993, ch. 5).
	slowMean = 0.25
	slowP99  = 1.0
	// What a cause must explain of the harm to be told: a fifth; or less, if that is as
	// much as requests usually take and so would be told were it alone. Where
	// processors are short everything waits longer, and it takes more to be blamed.
	worth      = 0.2
	worthAlone = 0.03
	worthShort = 0.1
	// Of the users' time: so much of it lost in queues for processors, locks and
	// connections is waste, however usual it is; and so many requests that are slow by
	// any measure are no rare report.
	wasted    = 0.3
	wastedMin = 0.005 // seconds of a request
	slowMany  = 0.2
	// Of a route's or a dependency's own time: as much is worth knowing.
	worthKnowing = 0.1
	// How late a sleeper wakes on a machine with a processor to spare, at most: 1.1 ms
	// was measured on one of two processors under other load.
	promptly = 0.002
	// With so many ready goroutines for each request under way, and the processors full,
	// the queues are not the requests' own.
	crowd      = 10
	crowdedCPU = 0.85
	// A process as young as this has cold caches and connections, unless it has been
	// calm for some intervals already.
	warmUp        = 30 * time.Second
	calmIntervals = 1
)

// figures is evidence in rates, with unknown numbers told apart.
type figures struct {
	now, usual *Window
	seconds    float64 // of the interval
	past       float64 // seconds of the usual window; 0: nothing is known
	young      bool
	chronic    bool // judged without regard to what is usual

	rt, was Runtime        // unknown numbers are NaN
	routes  []routeFigures // those that are slower

	rate, usualRate float64 // requests per second
	load            float64 // goroutine-seconds per second in requests: the users' time
	usualLoad       float64 // what the same requests would take in their usual time
	harm            float64 // goroutine-seconds per second beyond the usual
	stuck           float64 // of that, in requests that do not end
	stalled         float64 // of that, of routes of which a few requests stood still with the process
	self            float64 // of that, in the routes themselves
	slowRequests    float64 // of routes that are slow by any measure; only where that is asked
	page            bool    // it is worth waking somebody
	delay           float64 // seconds by which one wake-up is later than usual
	late            float64 // seconds by which a request's handler begins later than usual
	unseen          float64 // of the harm, before the handlers begin: no duration of a request shows it
	ready           float64 // of the harm, the wait for processors at most
}

// routeFigures is one route, compared with its usual self.
type routeFigures struct {
	*Route
	was    *Route // nil: not known
	rate   float64
	mean   float64 // seconds a request
	before float64 // usual mean; NaN: not known
	harm   float64 // goroutine-seconds per second beyond the usual, 0 while it is not slower
	self   float64 // of harm, not waited for parts
	inTurn float64 // of harm, waited for calls that used to be made beside each other
	parts  []partFigures
}

// partFigures is what one part of a route took beyond the usual, in
// goroutine-seconds per second.
type partFigures struct {
	name   string
	slower float64 // because each call took longer
	more   float64 // because there were more calls
	calls  float64 // a request
	before float64 // usual calls a request
}

func newFigures(e *Evidence) *figures {
	f := &figures{now: &e.Now, usual: &e.Usual, seconds: e.Now.Interval.Seconds(), past: max(e.Usual.Interval.Seconds(), 0)}
	f.young = e.Running > 0 && e.Running < warmUp && f.past < (calmIntervals-0.5)*f.seconds
	f.rt, f.was = known(e.Now.Runtime), known(e.Usual.Runtime)
	if f.past == 0 {
		f.usual, f.was = new(Window), Runtime{}
	}
	f.reckon()
	return f
}

// anyway returns the figures without regard to what is usual.
func (f *figures) anyway() *figures {
	c := &figures{now: f.now, usual: new(Window), seconds: f.seconds, young: f.young, chronic: true, rt: f.rt}
	c.reckon()
	return c
}

func (f *figures) reckon() {
	f.delay = max(max0(over(f.rt.SchedMean, f.was.SchedMean)), max0(over(f.rt.WakeupMean, f.was.WakeupMean)), max0(over(f.rt.WakeupP50, f.was.WakeupP50)))
	f.compareRoutes()
	f.findUnseen()
	f.findStuck()
	f.findReady()
}

// findUnseen counts what requests wait before their handlers begin: the goroutine of
// their connection must wake up to read them, as late as any sleeper does. Durations
// begin with the handler, so they stay as they are while users wait.
func (f *figures) findUnseen() {
	usual := f.was.WakeupP50
	switch {
	case f.chronic:
		usual = promptly
	case f.past == 0 || math.IsNaN(usual):
		return
	}
	if f.rate*f.seconds < 2*minRequests || !(f.rt.WakeupP50-usual >= slowerMin) {
		return
	}
	f.late = f.rt.WakeupP50 - usual
	f.unseen = f.rate * f.late
	f.harm += f.unseen
	f.load += f.unseen
	f.page = f.page || f.late >= pageMin && f.load >= pageBy*f.usualLoad
}

// waste is the users' time that is lost in queues, as far as that is known.
func (f *figures) waste() float64 {
	sum := f.ready + max0(f.rt.MutexWait) + max0(f.rt.GCAssist)
	for i := range f.now.Pools {
		sum += max0(f.now.Pools[i].WaitSeconds) / f.seconds
	}
	for i := range f.now.Queues {
		sum += max0(f.now.Queues[i].Blocked) / f.seconds
	}
	return min(sum, f.load)
}

func (f *figures) compareRoutes() {
	if f.past > 0 {
		for i := range f.usual.Routes {
			f.usualRate += max0(f.usual.Routes[i].Requests) / f.past
		}
	}
	for i := range f.now.Routes {
		r := &f.now.Routes[i]
		n := max0(r.Requests)
		f.rate += n / f.seconds
		if n == 0 {
			continue
		}
		c := routeFigures{Route: r, was: f.usualRoute(r.Route, i), rate: n / f.seconds, mean: max0(r.Seconds) / n, before: math.NaN()}
		f.load += c.rate * c.mean
		if c.was != nil {
			c.before = max0(c.was.Seconds) / c.was.Requests
			f.usualLoad += c.rate * c.before
		} else {
			f.usualLoad += c.rate * c.mean
		}
		if f.compare(&c, n); c.harm > 0 {
			f.harm += c.harm
			f.self += c.self
			f.routes = append(f.routes, c)
		}
	}
}

// usualRoute finds a route's usual self, which has most likely the same place in its
// list; nil where it is not known.
func (f *figures) usualRoute(name string, place int) *Route {
	if f.past == 0 {
		return nil
	}
	for i, n := 0, len(f.usual.Routes); i < n; i++ {
		if r := &f.usual.Routes[(place+i)%n]; r.Route == name {
			if r.Requests >= minRequests && r.Requests < 1e15 {
				return r
			}
			return nil
		}
	}
	return nil
}

// compare finds by how much a route is slower than usual, and where.
func (f *figures) compare(c *routeFigures, n float64) {
	switch {
	case n < minRequests && !f.farBeyond(c, n):
		return
	case c.was != nil:
		if c.mean < slowerBy*c.before || c.mean-c.before < slowerMin {
			return
		}
		c.harm = c.rate * (c.mean - c.before)
		if f.stood(c) {
			f.stalled += c.harm
			return
		}
		f.page = f.page || c.mean >= pageBy*c.before && c.mean-c.before >= pageMin
	case f.chronic: // it is all to be explained
		c.harm = c.rate * c.mean
		if c.slow() {
			f.slowRequests += n
		}
	case !c.slow() || f.asRare(c):
		return
	default: // new, or nothing is known of the time before
		c.harm = c.rate * c.mean
	}
	waited, sum := f.waitedMore(c, n), 0.0
	for _, p := range c.Parts {
		pf := f.comparePart(c, &p, n)
		if pf.slower > 0 && f.callsStood(p.Name) {
			f.stalled += min(pf.slower, waited)
			pf.slower = 0
		}
		sum += max(pf.slower+pf.more, 0)
		c.parts = append(c.parts, pf)
	}
	if c.was != nil && c.was.beside() >= besideLess*max(c.beside(), 1) {
		c.inTurn = max(waited-sum, 0)
	}
	if sum > waited && sum > 0 { // they ran beside each other
		for i := range c.parts {
			c.parts[i].slower *= waited / sum
			c.parts[i].more *= waited / sum
		}
	}
	c.self = max(c.harm-waited, 0)
}

// besideLess is how many times as many calls must have been under way at once for
// their order to be the matter: two calls beside each other, made in turn, are half.
const besideLess = 1.6

// beside is how many calls of a request are under way at once while one is.
func (r *Route) beside() float64 {
	sum := 0.0
	for _, p := range r.Parts {
		sum += max0(p.Seconds)
	}
	if sum == 0 || !(r.Waited > 0) {
		return 0
	}
	return sum / r.Waited
}

// farBeyond reports whether a few requests say as much as many: one that takes twice as
// long as 99 of 100 usually do is chance once in a hundred, two of them in ten thousand.
// The slower a route gets, the fewer of its requests end.
func (f *figures) farBeyond(c *routeFigures, n float64) bool {
	return n >= 2 && c.was != nil && c.was.P99 > 0 && c.P50 >= pageBy*c.was.P99 && c.mean >= pageBy*c.before
}

// asRare reports whether a route of which too few requests are known to say what is
// usual is no slower than twice those few: it is rare, and not new.
func (f *figures) asRare(c *routeFigures) bool {
	for i := range f.usual.Routes {
		if w := &f.usual.Routes[i]; w.Route == c.Route.Route && w.Requests >= 1 && w.Requests < 1e15 {
			return c.mean < pageBy*max0(w.Seconds)/w.Requests
		}
	}
	return false
}

// stood reports whether a route is slower only because the process stood still now and
// then: most of its requests are as fast as ever, and the slow ones took no longer than
// a sleeper that does nothing overslept.
func (f *figures) stood(c *routeFigures) bool {
	return f.overslept(c.P50, c.P99, c.was.P50, c.was.P99)
}

func (f *figures) overslept(p50, p99, wasP50, wasP99 float64) bool {
	return p50 > 0 && wasP50 > 0 && p50 < slowerBy*wasP50 && f.rt.WakeupP99 >= pageMin && p99 <= max0(wasP99)+1.5*f.rt.WakeupP99
}

// callsStood is stood of a dependency's calls.
func (f *figures) callsStood(name string) bool {
	if !(f.rt.WakeupP99 >= pageMin) || f.past == 0 {
		return false
	}
	for i := range f.now.Dependencies {
		dep := &f.now.Dependencies[i]
		if dep.Name != name {
			continue
		}
		for k := range f.usual.Dependencies {
			if was := &f.usual.Dependencies[k]; was.Name == name {
				return f.overslept(dep.P50, dep.P99, was.P50, was.P99)
			}
		}
	}
	return false
}

// slow reports whether the requests are slow by any measure.
func (c *routeFigures) slow() bool { return c.mean >= slowMean || max0(c.P99) >= slowP99 }

// waitedMore is how much of a route's harm lies in its parts.
func (f *figures) waitedMore(c *routeFigures, n float64) float64 {
	more := max0(c.Waited) / n
	if c.was != nil {
		more -= max0(c.was.Waited) / c.was.Requests
	}
	return min(max(more, 0)*c.rate, c.harm)
}

func (f *figures) comparePart(c *routeFigures, p *Part, n float64) partFigures {
	pf := partFigures{name: p.Name, calls: max0(p.Calls) / n}
	if pf.calls == 0 {
		return pf
	}
	mean := max0(p.Seconds) / p.Calls
	usual := 0.0
	if c.was != nil {
		for i := range c.was.Parts {
			if w := &c.was.Parts[i]; w.Name == p.Name && w.Calls > 0 {
				pf.before, usual = w.Calls/c.was.Requests, max0(w.Seconds)/w.Calls
			}
		}
	}
	if usual == 0 && f.past > 0 { // new to this route, or the route is: the dependency's other callers know it
		if w := f.usualDependency(p.Name); w != nil {
			usual = max0(w.Seconds) / w.Calls
		}
	}
	// A call wakes the goroutine that made it and those that read its connection.
	const wakes = 3
	longer := mean - usual - wakes*f.delay
	if longer < wakes*f.delay { // what is left is no surer than what was subtracted
		longer = 0
	}
	switch {
	case c.was == nil:
		pf.slower = c.rate * pf.calls * longer
	case pf.before == 0: // it did not use to make such calls
		pf.more = c.rate * pf.calls * mean
	default:
		pf.slower = c.rate * min(pf.calls, pf.before) * longer
		pf.more = c.rate * max(pf.calls-pf.before, 0) * mean
	}
	return pf
}

// findStuck counts requests that began and do not end: no mean shows them.
func (f *figures) findStuck() {
	inFlight := max0(f.now.InFlight)
	beyond := inFlight - f.load
	if f.past > 0 {
		load := 0.0
		for i := range f.usual.Routes {
			load += max0(f.usual.Routes[i].Seconds) / f.past
		}
		beyond -= max(max0(f.usual.InFlight)-load, 0)
	}
	// Requests that end evenly are in flight for as long as they take: a third of
	// them is the noise of a mean of samples.
	const least = 5
	if f.past > 0 && beyond >= least && beyond > f.load/3 {
		f.stuck = beyond
		f.harm += beyond
		f.page = true
	}
	f.load = max(f.load, inFlight)
}

// findReady estimates how much of the harm is waiting for a processor: the runtime
// counts all goroutines, so no more than the requests' own wake-ups can have had.
func (f *figures) findReady() {
	calls := 0.0
	for i := range f.now.Routes {
		for _, p := range f.now.Routes[i].Parts {
			calls += max0(p.Calls) / f.seconds
		}
	}
	// Those that began and have not ended have woken up, too.
	began := f.rate + max(max0(f.now.InFlight)-max0(f.usual.InFlight), 0)/f.seconds
	if f.rate > 0 {
		calls *= began / f.rate
	}
	// One to read the request and one to be preempted or to log; three a call.
	wakes := 2*began + 3*calls
	// Or as many for each request as there usually are.
	if f.was.SchedWait > 0 && f.was.SchedMean > 0 && f.usualRate > 0 {
		wakes = max(wakes, f.was.SchedWait/f.was.SchedMean/f.usualRate*began)
	}
	// And one for each time slice of 10 ms (forcePreemptNS in runtime/proc.go), of those
	// that compute in their own time.
	slices := 100 * max0(f.rt.CPU)
	waits := over(f.rt.SchedWait, f.was.SchedWait)
	if math.IsNaN(waits) {
		waits = math.Inf(1)
	}
	// No route can have waited longer than its own requests woke up for; twice, since
	// the mean hides those that waited long.
	ready, each := 0.0, 2*f.delay*wakes/max(began, 1e-9)
	for i := range f.routes {
		r := &f.routes[i]
		if r.parts == nil && r.self == 0 {
			continue // it stood still
		}
		ready += min(r.harm, r.rate*each+2*f.delay*slices*share(r.self, f.self))
	}
	ready += min(f.stuck, 2*f.delay*wakes)
	f.ready = max0(min(ready, waits, (wakes+slices)*f.delay)) + f.stalled
	// Whoever holds a connection while he waits for a processor lets others wait for it.
	for i := range f.now.Pools {
		p := &f.now.Pools[i]
		f.ready += f.poolWait(p) * f.wakingShare(p.Name)
	}
	f.ready = min(f.ready+f.unseen, f.harm)
	// Full run queues of others are no queue that requests wait in evenly: the network
	// is then looked at every 10 ms only (sysmon in runtime/proc.go), and what it wakes
	// waits in the global queue, of which every 61st turn is (schedtick). No mean shows it.
	if f.rt.CPU >= crowdedCPU*f.capacity() && over(f.rt.SchedWait, f.was.SchedWait) >= crowd*max(f.load, 1) {
		f.ready = f.harm
	}
}

// slow reports whether requests are slower to a degree that anybody feels.
func (f *figures) slow() bool {
	return f.harm >= worth*f.usualLoad && f.harm > 0 && f.harm >= slowerMin*f.rate
}

// level is that of a cause that explains a part of the harm. Without anything to
// compare with nobody is woken: it may have been so for years.
func (f *figures) level(part float64) Level {
	switch {
	case f.young && !(f.past > 0 && f.harm >= 5*f.usualLoad): // no cold cache is that cold
		return Info
	case f.page && f.past > 0 && part >= worth*f.harm:
		return Page
	}
	return Ticket
}

// capacity is the cores that the process may use.
func (f *figures) capacity() float64 {
	c := f.rt.Processors
	for _, limit := range []float64{f.rt.CPUs, f.rt.CPULimit} {
		if limit > 0 && !(limit > c) {
			c = limit
		}
	}
	return c
}

// surge is the requests now for each of usual; 1 when that is not known.
func (f *figures) surge() float64 {
	if f.usualRate <= 0 {
		return 1
	}
	return f.rate / f.usualRate
}

// sites returns the weight of a kind of sites, and the heaviest.
func (f *figures) sites(kinds ...SiteKind) (weight float64, top Site) {
	for _, s := range f.now.Sites {
		for _, k := range kinds {
			if s.Kind == k {
				weight += max0(s.Weight)
				if max0(s.Weight) > max0(top.Weight) || top.Kind == "" {
					top = s
				}
			}
		}
	}
	return weight, top
}

// sampled reports whether goroutines were sampled.
func (f *figures) sampled() bool {
	for _, s := range f.now.Sites {
		switch s.Kind {
		case OnCPU, Allocates, Holds, Timers, Scheduler, Stays, Paced:
		default:
			return true
		}
	}
	return false
}

// max0 is v, or 0 when it is negative or no number that can be reckoned with.
func max0(v float64) float64 {
	if !(v > 0) || v > 1e15 {
		return 0
	}
	return v
}

// over is by how much v is above usual, which counts as 0 where it is not known.
func over(v, usual float64) float64 {
	if math.IsNaN(v) {
		return math.NaN()
	}
	return max(v-max0(usual), 0)
}

// known makes NaN of what cannot be.
func known(r Runtime) Runtime {
	for _, p := range []*float64{
		&r.Processors, &r.CPUs, &r.CPULimit, &r.CPU, &r.SchedWait, &r.SchedMean, &r.SchedP99, &r.WakeupMean, &r.WakeupP50, &r.WakeupP99, &r.MutexWait,
		&r.GCShare, &r.GCAssist, &r.GCPerSecond, &r.ForcedGC, &r.PauseShare, &r.AllocatedBytes, &r.Throttled, &r.ThrottledShare, &r.RunDelay,
		&r.HostBusy, &r.HostOwn, &r.Steal, &r.CPUPressure, &r.IOPressure, &r.MemoryFree, &r.HeapLive, &r.HeapBefore, &r.HeapRoom,
		&r.Goroutines, &r.GoroutinesBefore, &r.Streams, &r.StreamsBefore, &r.Created, &r.NotInGo, &r.Threads, &r.Descriptors, &r.DescriptorsBefore, &r.DescriptorMax,
	} {
		if *p < 0 || *p > 1e15 {
			*p = math.NaN()
		}
	}
	return r
}
