package doctor

import (
	"fmt"
	"math"
	"slices"
)

// locks blames sync.Mutex and sync.RWMutex. What the runtime counted is of waits
// that ended; samples see those that do not.
func (d *diagnosis) locks() {
	sampled, top := d.sites(Lock, LockIO, LogLock)
	wait := max(max0(over(d.rt.MutexWait, d.was.MutexWait)), sampled)
	switch elsewhere, _ := d.sites(LockElse); {
	case sampled+elsewhere > 0: // the runtime counts all goroutines: of these, some are requests
		wait *= sampled / (sampled + elsewhere)
	case d.sampled(): // none was seen, in moments; one a processor may have waited inside of the runtime
		wait -= max0(d.rt.Processors)
	}
	// Requests wait for locks in their own time; other goroutines' waits are not theirs.
	part := min(wait, d.own)
	if !d.worthy(part) {
		return
	}
	io, held := d.sites(LockIO)
	logs, logger := d.sites(LogLock)
	f := Finding{Cause: LockContention, Subject: top.Function, Confidence: 0.7,
		Proof: []Proof{{"observe_mutex_wait_seconds_total", wait, max0(d.was.MutexWait), fmt.Sprintf("%s goroutines wait for a lock at any moment (usually %s)", num(wait), num(max0(d.was.MutexWait)))}}}
	who := "a lock"
	switch {
	case logs > 0 && logs >= 0.5*sampled:
		f.Cause, f.Subject, f.Confidence = LoggingLock, logger.Function, 0.85
	case io > 0:
		f.Cause, f.Subject, f.Confidence = LockHeldIO, held.Function, 0.9
	case sampled > 0 && d.holderRuns():
		f.Confidence = 0.85
	case !d.holderRuns():
		f.Cause = LockHeldIO
		f.Proof = append(f.Proof, Proof{"process_cpu_time_seconds_total", max0(d.rt.CPU), max0(d.was.CPU) + 0.5, fmt.Sprintf("only %s cores are in use (usually %s), and the kernel makes no more threads wait: the holder does not compute", num(max0(d.rt.CPU)), num(max0(d.was.CPU)))})
	}
	if sampled == 0 {
		d.want(Lock)
	} else {
		who = "a lock in " + f.Subject
		if detail := top.Detail; detail != "" {
			f.Proof = append(f.Proof, Proof{"mutex profile", max0(top.Weight), math.NaN(), detail})
		}
	}
	f.Summary = fmt.Sprintf("%s goroutines at a time wait for %s", num(wait), who)
	if f.Cause == LockHeldIO {
		f.Summary += ", whose holder waits for something itself"
	}
	d.explain(part, part, f)
}

// holderRuns reports whether CPU use rose by about what a lock costs that is always
// held by somebody who computes: half a core. On a host that others load, what the
// kernel made threads wait for is part of it.
func (d *diagnosis) holderRuns() bool {
	core := 0.5 * min(1, max0(d.capacity()))
	if d.sampled() && max0(d.rt.CPU)+max0(d.rt.RunDelay) >= core {
		return true // somebody may compute, and no holder was seen to wait
	}
	return d.computes() >= core
}

// pools blames pools of database connections, unless the database itself is slow:
// then waiting for a connection is its symptom.
func (d *diagnosis) pools() {
	sampled, _ := d.sites(PoolWait)
	total := 0.0
	for i := range d.now.Pools {
		total += d.poolWait(&d.now.Pools[i])
	}
	for i := range d.now.Pools {
		p := &d.now.Pools[i]
		wait := d.poolWait(p)
		if sampled > total {
			wait *= sampled / total
		}
		// Connections that are held longer because their users wait for a processor are
		// held by the processors.
		wait *= 1 - d.wakingShare(p.Name)
		part := min(wait, d.own)
		if !d.worthy(part) {
			continue
		}
		proof := []Proof{{"observe_db_client_connection_wait_seconds_total", wait, worth * d.harm,
			fmt.Sprintf("%s goroutines wait for one of %s connections at any moment, %s of them in use", num(wait), maximum(p.Max), num(max0(p.InUse)))}}
		if d.slowDatabase(p.Name) && d.executing(p.Name) >= 0.5*max0(p.InUse) {
			d.databaseSlow(p.Name, part+d.partOf(p.Name, func(f partFigures) float64 { return f.slower }), proof, "database pool exhausted")
			continue
		}
		if p.Max > 0 && max0(p.Unclosed) >= 0.5*p.Max {
			d.explain(part, part, Finding{Cause: ConnectionLeak, Subject: p.Name, Confidence: 0.9,
				Summary: fmt.Sprintf("%s of %s connections of pool %s are held by rows or transactions that were left alone", num(p.Unclosed), maximum(p.Max), p.Name),
				Proof:   append(proof, Proof{"observe_db_unclosed", p.Unclosed, 0.5 * p.Max, num(p.Unclosed) + " rows and transactions were left alone for a minute"})})
			continue
		}
		d.explain(part, part, Finding{Cause: PoolExhausted, Subject: p.Name, Confidence: 0.9,
			Summary: fmt.Sprintf("all connections of pool %s are in use: %s goroutines at a time wait for one of %s", p.Name, num(wait), maximum(p.Max)),
			Proof:   proof})
	}
}

// executing is how many connections of a database run an operation at any moment: the
// others are held for something else.
func (d *diagnosis) executing(name string) float64 {
	for i := range d.now.Dependencies {
		if dep := &d.now.Dependencies[i]; dep.Name == name {
			return max0(dep.Seconds) / d.seconds
		}
	}
	return 0
}

// wakingShare is how much of the time of a database's operations beyond the usual is
// our own delay in waking up.
func (f *figures) wakingShare(name string) float64 {
	was := f.usualDependency(name)
	for i := range f.now.Dependencies {
		if dep := &f.now.Dependencies[i]; dep.Name == name && was != nil {
			mean := share1(dep.Seconds, dep.Calls)
			return share(min(3*f.delay, max(mean-share1(was.Seconds, was.Calls), 0)), mean)
		}
	}
	return 0
}

// channels blames queues that the program watches, whose senders wait for room.
func (d *diagnosis) channels() {
	for i := range d.now.Queues {
		q := &d.now.Queues[i]
		wait := max0(q.Blocked) / d.seconds
		for k := range d.usual.Queues {
			if w := &d.usual.Queues[k]; w.Queue == q.Queue && d.past > 0 {
				wait = max(wait-max0(w.Blocked)/d.past, 0)
			}
		}
		part := min(wait, d.own)
		if !d.worthy(part) {
			continue
		}
		d.explain(part, part, Finding{Cause: Backpressure, Subject: q.Queue, Confidence: 0.9,
			Summary: fmt.Sprintf("%s goroutines at a time wait for room in %s", num(wait), q.Queue),
			Proof:   []Proof{{"observe_queue_blocked_seconds_total", wait, worth * d.harm, fmt.Sprintf("goroutine-seconds per second that senders wait; %.0f items are in it, %s fit", max0(q.Length), maximum(q.Capacity))}}})
	}
}

func maximum(n float64) string {
	if n > 0 {
		return num(n)
	}
	return "any number of"
}

// poolWait is the goroutine-seconds per second of waiting in a pool, beyond the
// usual. Those that still wait have waited for half of the interval, on average, if
// it began in it.
func (f *figures) poolWait(p *Pool) float64 {
	wait := max(max0(p.WaitSeconds)/f.seconds, 0.5*max0(p.Pending))
	for i := range f.usual.Pools {
		if w := &f.usual.Pools[i]; w.Name == p.Name && f.past > 0 {
			wait -= max0(w.WaitSeconds) / f.past
		}
	}
	return max(wait, 0)
}

// own blames what the routes do themselves, by what their goroutines were seen at.
func (d *diagnosis) themselves() {
	rest := min(d.own, d.left)
	if !d.worthy(rest) {
		return
	}
	if !d.sampled() {
		d.want(Lock)
	}
	kinds := []struct {
		cause Cause
		kinds []SiteKind
		does  string
	}{
		{Backpressure, []SiteKind{Channel}, "wait for a channel, a condition or a wait group"},
		{DiskStall, []SiteKind{Disk}, "wait for a disk"},
		{BlockingSyscalls, []SiteKind{Syscall}, "are in system calls"},
		{SlowClients, []SiteKind{Client}, "wait for their clients"},
		{SlowRoute, []SiteKind{Sleep, Network}, "sleep"},
	}
	all := 0.0
	for _, k := range kinds {
		w, _ := d.waits(k.kinds...)
		all += w
	}
	if w, _ := d.waits(Channel); d.worthy(rest * share(w, all)) {
		d.want(Paced)
	}
	notInGo := max0(over(d.rt.NotInGo, d.was.NotInGo))
	pressure := max0(over(d.rt.IOPressure, d.was.IOPressure))
	if all > 0 {
		for _, k := range kinds {
			w, top := d.waits(k.kinds...)
			if w == 0 {
				continue
			}
			cause, subject, confidence := k.cause, top.Function, 0.85
			if cause == BlockingSyscalls && pressure >= 0.2 {
				cause = DiskStall
			}
			if cause == SlowRoute || cause == SlowClients { // whoever waits there is the route, not its line
				if route := d.slowest(); route != "" {
					subject = route
				}
			}
			does := k.does
			if top.Kind == Network {
				does = "wait for a connection that no wrapper sees"
			}
			if cause == DiskStall && pressure < 0.05 {
				confidence = 0.7
			}
			f := Finding{Cause: cause, Subject: subject, Confidence: confidence,
				Summary: fmt.Sprintf("%s goroutines of requests at a time %s in %s", num(w), does, top.Function),
				Proof:   []Proof{{"goroutine samples", w, math.NaN(), fmt.Sprintf("%s of %s that were seen waiting for nothing that is measured; %s", num(w), num(all), at(top))}}}
			if dep := d.asked(top); dep != nil && k.cause == Backpressure {
				f = d.slowFinding(dep, fmt.Sprintf("%s goroutines of requests at a time wait in %s for whoever asked it", num(w), top.Function), f.Proof)
			}
			if dep := d.repeated(); dep != nil && k.cause == SlowRoute && top.Kind != Network {
				errors, _ := failing(dep, nil)
				times, _ := d.repeats(dep, d.usualDependency(dep.Name))
				proof := f.Proof
				f = d.stormFinding(dep, errors, times)
				f.Summary += fmt.Sprintf("; %s goroutines of requests at a time sleep in between in %s", num(w), top.Function)
				f.Proof = append(f.Proof, proof...)
			}
			// Those who were seen there cannot have taken more than there were of them; twice,
			// for the samples are of a moment.
			part := min(rest*w/all, 2*w)
			d.explain(part, part, f)
		}
		return
	}
	if notInGo >= max(0.4*rest, 1) { // one comes and goes in any process
		f := Finding{Cause: BlockingSyscalls, Confidence: 0.75,
			Summary: fmt.Sprintf("%s goroutines at a time are in system calls or C", num(notInGo)),
			Proof:   []Proof{{"observe_goroutines", notInGo, 0.4 * rest, num(notInGo) + " goroutines are outside Go, beyond the usual"}}}
		if pressure >= 0.1 {
			f.Cause = DiskStall
			f.Proof = append(f.Proof, Proof{"observe_pressure_waiting_seconds_total", pressure, 0.1, fmt.Sprintf("somebody waits for a disk for %s of the time, beyond the usual", pct(pressure))})
		}
		d.explain(rest, rest, f)
		return
	}
	if pressure >= 0.2 {
		d.explain(rest, rest, Finding{Cause: DiskStall, Confidence: 0.6,
			Summary: fmt.Sprintf("somebody waits for a disk for %s of the time", pct(pressure)),
			Proof:   []Proof{{"observe_pressure_waiting_seconds_total", pressure, 0.2, fmt.Sprintf("somebody waits for a disk for %s of the time, beyond the usual", pct(pressure))}}})
		return
	}
	d.slowRoutes(rest)
}

// waits is sites of what goroutines wait for, where a wait for a channel that a
// timer ends is a sleep: nobody could have ended it earlier.
func (d *diagnosis) waits(kinds ...SiteKind) (weight float64, top Site) {
	for _, s := range d.now.Sites {
		if s.Kind == Channel && d.paced(s.Function) {
			s.Kind = Sleep
		}
		if !slices.Contains(kinds, s.Kind) {
			continue
		}
		weight += max0(s.Weight)
		if max0(s.Weight) > max0(top.Weight) || top.Kind == "" {
			top = s
		}
	}
	return weight, top
}

// asked is the dependency that those wait for who wait for a channel in a function in
// which somebody is in a call: it is slower, else they are too many for it; nil
// where there is none.
func (d *diagnosis) asked(at Site) (who *Dependency) {
	calling := false
	for _, s := range d.now.Sites {
		calling = calling || s.Kind == Asks && functionOf(s.Function) == functionOf(at.Function)
	}
	most := 0.0
	for i := range d.now.Dependencies {
		dep := &d.now.Dependencies[i]
		was := d.usualDependency(dep.Name)
		if !calling || was == nil || !(dep.Calls > 0) {
			continue
		}
		mean, usual := share1(dep.Seconds, dep.Calls), share1(was.Seconds, was.Calls)
		if more := dep.Calls / d.seconds * (mean - usual); mean >= 2*usual && mean-usual >= slowerMin && more > most {
			who, most = dep, more
		}
	}
	return who
}

// repeated is the dependency whose failing calls are repeated by the routes that are
// slower themselves, by most of them: what they sleep in between is for its failing.
func (d *diagnosis) repeated() *Dependency {
	for i := range d.now.Dependencies {
		dep := &d.now.Dependencies[i]
		if _, storm := d.repeats(dep, d.usualDependency(dep.Name)); !storm {
			continue
		}
		callers := 0.0
		for k := range d.routes {
			for _, p := range d.routes[k].parts {
				if p.name == dep.Name && p.calls > 0 {
					callers += d.routes[k].self
				}
			}
		}
		if callers >= mostly*d.self {
			return dep
		}
	}
	return nil
}

// mostly is what "as a rule" means of waits that were seen to end.
const mostly = 0.8

// paced reports whether waits in a function were ended by timers, as a rule.
func (d *diagnosis) paced(function string) bool {
	for _, s := range d.now.Sites {
		if s.Kind == Paced && functionOf(s.Function) == functionOf(function) {
			return s.Weight >= mostly
		}
	}
	return false
}

func at(s Site) string {
	text := s.Function
	if s.Detail != "" {
		text += ", " + s.Detail
	}
	return text
}

// slowest is the route whose own time rose most, empty when none has most of it.
func (d *diagnosis) slowest() string {
	best, sum := routeFigures{}, 0.0
	for _, r := range d.routes {
		sum += r.self
		if r.self > best.self {
			best = r
		}
	}
	if best.self == 0 || best.self < 0.5*sum {
		return ""
	}
	return best.Route.Route
}

// slowRoutes blames the routes whose own time rose and that nothing explains. When
// all of them did alike it is no route's own code: nobody is blamed.
func (d *diagnosis) slowRoutes(rest float64) {
	for i := range d.routes {
		r := &d.routes[i]
		part := min(r.self, rest)
		if !d.worthy(part) || r.self/r.rate < 2*d.othersSlower(i) {
			continue
		}
		usual := "not known"
		if r.was != nil {
			usual = dur(r.before)
		}
		d.explain(part, part, Finding{Cause: SlowRoute, Subject: r.Route.Route, Confidence: 0.7, slower: r.self / r.rate,
			Summary: fmt.Sprintf("requests of %s take %s (usually: %s), and no processor, lock, pool or known dependency explains it", r.Route.Route, dur(r.mean), usual),
			Proof:   []Proof{{"http_server_request_duration_seconds", r.mean, r.before, fmt.Sprintf("mean of %.0f requests; %s of it in the route itself", r.Requests, dur(r.self/r.rate))}}})
	}
}

// othersSlower is by how much requests of all other routes got slower themselves.
func (d *diagnosis) othersSlower(but int) float64 {
	r := &d.routes[but]
	return share1(d.self-r.self, d.rate-r.rate)
}
