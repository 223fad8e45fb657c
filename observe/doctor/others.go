package doctor

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// failures tells what fails, whether or not it is slow.
func (d *diagnosis) failures() {
	blamed := map[string]bool{}
	for _, f := range d.findings {
		blamed[f.Subject] = true
	}
	failed := 0.0 // errors that a failing dependency explains, per second
	for i := range d.now.Dependencies {
		dep := &d.now.Dependencies[i]
		was := d.usualDependency(dep.Name)
		errors, bad := failing(dep, was)
		if !bad {
			continue
		}
		failed += max0(dep.Errors) / d.seconds
		if blamed[dep.Name] {
			continue
		}
		if d.failsForOne(dep) {
			continue
		}
		f := d.failingFinding(dep, was, errors)
		if times, storm := d.repeats(dep, was); storm {
			f = d.stormFinding(dep, errors, times)
		}
		// How many of the users' requests get to see it?
		seen := d.failedShare(dep.Name)
		f.Share, f.Level = max(seen, 0), Ticket
		asEver := was != nil && errors < 3*share(max0(was.Errors), was.Calls)
		f.chronic = asEver
		if seen >= failingShare && !d.young && !asEver {
			f.Level = Page
		}
		d.add(f)
	}
	for i := range d.now.Routes {
		r := &d.now.Routes[i]
		n := max0(r.Requests)
		if n < minRequests {
			continue
		}
		usualErrors, usualPanics := 0.0, 0.0
		if w := d.usualRoute(r.Route, i); w != nil {
			usualErrors, usualPanics = share(max0(w.Errors), w.Requests), share(max0(w.Panics), w.Requests)
		}
		panics, errors := share(max0(r.Panics), n), share(max0(r.Errors), n)
		level := Ticket
		if errors >= failingShare && !d.young {
			level = Page
		}
		switch {
		case r.Panics >= failures && panics >= 0.01: // nobody means to panic, however usual it is
			if panics < 3*usualPanics {
				level = Ticket
			}
			d.add(Finding{Cause: PanicLoop, Subject: r.Route, Level: level, Share: d.requestShare(r.Panics), Confidence: 0.95, chronic: panics < 3*usualPanics,
				Summary: fmt.Sprintf("%s of the requests of %s panic", pct(panics), r.Route),
				Proof:   []Proof{{"observe_panics_total", r.Panics, failures, fmt.Sprintf("%.0f panics in %.0f requests", r.Panics, n)}}})
		case r.Errors >= failures && (errors >= failingShare && errors >= 3*usualErrors || errors >= failingMostly) && r.Errors/d.seconds > failed && !d.explainedErrors() && !d.told(RouteFailing, r.Route):
			if errors < 3*usualErrors {
				level = Ticket
			}
			d.add(Finding{Cause: RouteFailing, Subject: r.Route, Level: level, Share: d.requestShare(r.Errors), Confidence: 0.7, chronic: errors < 3*usualErrors,
				Summary: fmt.Sprintf("%s of the requests of %s fail (usually %s), and no dependency's errors explain it", pct(errors), r.Route, pct(usualErrors)),
				Proof:   []Proof{{"http_server_request_duration_seconds", errors, max(failingShare, 3*usualErrors), fmt.Sprintf("%.0f of %.0f requests have status 500 or above", r.Errors, n)}}})
		}
	}
}

// failsForOne blames the one route whose calls of a dependency fail, as by a deadline of
// its own, while those of the other routes that use it are answered.
func (d *diagnosis) failsForOne(dep *Dependency) bool {
	var worst *Route
	var part Part
	place := 0
	others, failed := 0.0, 0.0
	for i := range d.now.Routes {
		r := &d.now.Routes[i]
		for _, p := range r.Parts {
			if p.Name != dep.Name {
				continue
			}
			others += max0(p.Calls)
			failed += max0(p.Errors)
			if p.Errors > max0(part.Errors) {
				worst, part, place = r, p, i
			}
		}
	}
	others -= max0(part.Calls)
	failed -= max0(part.Errors)
	if worst == nil || others < 2*minRequests || failed >= 0.1*failingShare*others || part.Errors < failures || share(part.Errors, part.Calls) < failingShare {
		return false
	}
	was, errors := 0.0, share(max0(worst.Errors), max0(worst.Requests))
	if w := d.usualRoute(worst.Route, place); w != nil {
		was = share(max0(w.Errors), w.Requests)
	}
	level := Ticket
	if errors >= failingShare && errors >= 3*was && !d.young {
		level = Page
	}
	d.add(Finding{Cause: RouteFailing, Subject: worst.Route, Level: level, Share: d.requestShare(worst.Errors), Confidence: 0.8, chronic: errors < 3*was,
		Summary: fmt.Sprintf("%s of the calls of %s by %s fail; the other routes that use it get their answers", pct(share(part.Errors, part.Calls)), dep.Name, worst.Route),
		Proof:   []Proof{{d.durationMetric(dep), part.Errors, failures, fmt.Sprintf("%.0f of its %.0f calls failed, and %.0f of the %.0f of others", part.Errors, part.Calls, failed, others)}}})
	return true
}

// told reports whether there is a finding already.
func (d *diagnosis) told(cause Cause, subject string) bool {
	return slices.ContainsFunc(d.findings, func(f Finding) bool { return f.Cause == cause && f.Subject == subject })
}

// explainedErrors reports whether something is so slow that time-outs are its symptom.
func (d *diagnosis) explainedErrors() bool {
	for _, f := range d.findings {
		if f.Level == Page && f.Share >= 0.5 && f.Cause != PanicLoop && f.Cause != RouteFailing {
			return true
		}
	}
	return false
}

// requestShare is n of the interval's requests.
func (d *diagnosis) requestShare(n float64) float64 { return share(n, d.requests()) }

// failedShare is the share of all requests that failed on routes which call a
// dependency.
func (d *diagnosis) failedShare(name string) float64 {
	n := 0.0
	for i := range d.now.Routes {
		r := &d.now.Routes[i]
		for _, p := range r.Parts {
			if p.Name == name && p.Errors > 0 {
				n += min(max0(r.Errors), p.Errors)
			}
		}
	}
	return d.requestShare(n)
}

// queues tells what is not worked off.
func (d *diagnosis) queues() {
	for i := range d.now.Queues {
		q := &d.now.Queues[i]
		length, grown := max0(q.Length), q.Length-max0(q.Before)
		usualTaken := 0.0
		for k := range d.usual.Queues {
			if w := &d.usual.Queues[k]; w.Queue == q.Queue && d.past > 0 {
				usualTaken = max0(w.Taken) / d.past
			}
		}
		counts := !math.IsNaN(q.Taken) && !math.IsNaN(q.Added) && (q.Taken > 0 || q.Added > 0 || usualTaken > 0)
		level, after := Ticket, time.Duration(0)
		if q.Capacity > 0 && grown > 0 {
			if left := max(q.Capacity-length, 0) / (grown / d.seconds); left < 365*24*3600 {
				after = time.Duration(left * float64(time.Second))
			}
			if after < 10*time.Minute {
				level = Page
			}
		}
		if q.Capacity > 0 && length >= 0.95*q.Capacity || max0(q.Oldest) >= 60 {
			level = Page
		}
		if d.young {
			level = Info
		}
		proof := []Proof{
			{"observe_queue_length", length, max0(q.Before), fmt.Sprintf("%.0f items wait, %.0f at the beginning of the interval", length, max0(q.Before))},
		}
		if counts {
			proof = append(proof, Proof{"observe_queue_taken_total", max0(q.Taken), max0(q.Added), fmt.Sprintf("%.0f items were taken, %.0f added", max0(q.Taken), max0(q.Added))})
		}
		wait := share(length, length+d.load)
		switch {
		case counts && max0(q.Taken) == 0 && length > 0 && (grown > 0 || q.Before > 0) && (usualTaken*d.seconds >= 1 || q.Added >= 1 && length > q.Added/2):
			if usualTaken*d.seconds >= failures && !d.young {
				level = Page
			}
			d.add(Finding{Cause: QueueStalled, Subject: q.Queue, Level: level, Share: wait, Confidence: 0.9, After: after,
				Summary: fmt.Sprintf("nothing was taken from queue %s, in which %.0f items wait", q.Queue, length), Proof: proof})
		case grown >= 5 && length >= 10 && (!counts || q.Added > 1.1*q.Taken) && grown >= 0.1*length:
			d.add(Finding{Cause: QueueGrowing, Subject: q.Queue, Level: level, Share: wait, Confidence: 0.85, After: after,
				Summary: fmt.Sprintf("queue %s grew by %.0f items to %.0f: more comes in than is worked off", q.Queue, grown, length), Proof: proof})
		}
	}
}

const (
	// Leaks whose end is nearer than this wake somebody.
	soon = 10 * time.Minute
	// A tenth of the memory is what a burst takes.
	lowMemory = 0.10
	noMemory  = 0.04
)

// growth tells what only grows, and what it grows against.
func (d *diagnosis) growth() {
	causes := map[string]Cause{
		"goroutine": GoroutineLeak, "heap": HeapLeak, "file": DescriptorLeak, "socket": DescriptorLeak, "pipe": DescriptorLeak, "descriptor": DescriptorLeak,
		"close_wait": ConnectionLeak, "rows": ConnectionLeak, "tx": ConnectionLeak, "transaction": ConnectionLeak, "body": ConnectionLeak,
	}
	found := map[Cause]bool{}
	for _, l := range d.now.Leaks {
		cause := causes[l.Kind]
		if cause == "" || max0(l.Confidence) < 0.5 {
			continue
		}
		found[cause] = true
		level := Ticket
		if l.After > 0 && l.After < soon {
			level = Page
		}
		unit := ""
		if l.Kind == "heap" {
			unit = " bytes"
		}
		d.add(Finding{Cause: cause, Subject: l.Site, Level: level, Confidence: min(max0(l.Confidence), 1), After: l.After,
			Summary: fmt.Sprintf("%.0f %ss%s of %s were not let go, %s more per hour", max0(l.Count), l.Kind, unit, l.Site, num(max0(l.PerHour))),
			Proof:   []Proof{{"observe_leak_suspects", max0(l.Count), math.NaN(), fmt.Sprintf("a group of kind %s whose oldest members never go; confidence %.2f", l.Kind, max0(l.Confidence))}}})
	}
	d.memory(found)
	d.goroutines(found)
	d.descriptors(found)
}

// smallHeap is less than what the collector lets any program have (heapMinimum in
// runtime/mgcpacer.go): a heap that is so much larger is none.
const smallHeap = 4 << 20

func (d *diagnosis) memory(found map[Cause]bool) {
	rt := &d.rt
	own := rt.MemoryBy != "host" && rt.MemoryBy != "" // others fill the host's
	low := rt.MemoryFree < lowMemory && own
	ends := rt.MemoryAfter > 0 && rt.MemoryAfter < time.Hour && own
	grown := rt.HeapLive - rt.HeapBefore
	grows := grown > 1<<20 && grown >= 0.02*rt.HeapBefore && rt.HeapBefore > 0 && d.surge() < 1.4
	level := Ticket
	if ends && rt.MemoryAfter < soon && rt.MemoryFree < 0.5 || rt.MemoryFree < noMemory && own {
		level = Page
	}
	if rt.MemoryBy == "gomemlimit" { // which kills nobody: the collector works for it
		level = Ticket
		for i := range d.findings {
			if f := &d.findings[i]; f.Cause == GCMemoryLimit {
				f.Symptoms = append(f.Symptoms, "memory near the limit")
				return
			}
		}
	}
	proof := []Proof{
		{"observe_memory_headroom_ratio", rt.MemoryFree, lowMemory, fmt.Sprintf("%s of the limit (%s) is free", pct(max0(rt.MemoryFree)), limitName(rt.MemoryBy))},
		{"observe_memory_heap_live_bytes", max0(rt.HeapLive), max0(rt.HeapBefore), fmt.Sprintf("%.1f MiB live heap, %.1f MiB before", max0(rt.HeapLive)/(1<<20), max0(rt.HeapBefore)/(1<<20))},
	}
	switch {
	case found[HeapLeak]:
	case grows && (ends || low) && !d.young:
		d.add(Finding{Cause: HeapLeak, Subject: d.holder(), Level: level, Confidence: 0.6, After: rt.MemoryAfter,
			Summary: fmt.Sprintf("the live heap grew by %.1f MiB to %.0f MiB and fills the memory in %s", grown/(1<<20), rt.HeapLive/(1<<20), about(rt.MemoryAfter)), Proof: proof})
		return
	}
	if !found[HeapLeak] && grows && !ends && !low && !d.young && d.past > 0 && rt.HeapLive >= max(1.5*max0(d.was.HeapLive), max0(d.was.HeapLive)+smallHeap) && !d.slow() {
		// Nothing fails soon, and it may be a cache that fills.
		d.add(Finding{Cause: HeapLeak, Subject: d.holder(), Level: Info, Confidence: 0.5,
			Summary: fmt.Sprintf("the live heap grew by %.1f MiB to %.0f MiB (usually %.0f)", grown/(1<<20), rt.HeapLive/(1<<20), max0(d.was.HeapLive)/(1<<20)),
			Proof:   proof[1:]})
	}
	if low || ends && rt.MemoryFree < 0.25 {
		d.add(Finding{Cause: MemoryNearLimit, Level: level, Confidence: 0.9, After: rt.MemoryAfter,
			Summary: fmt.Sprintf("%s of the memory limit (%s) is free", pct(max0(rt.MemoryFree)), limitName(rt.MemoryBy)), Proof: proof})
	}
}

// holder is the function that allocated most of what the live heap grew by, empty
// while that is not known.
func (d *diagnosis) holder() string {
	d.want(Holds)
	all, top := d.sites(Holds)
	if max0(top.Weight) < all/2 {
		return ""
	}
	return top.Function
}

func limitName(by string) string {
	switch by {
	case "cgroup":
		return "the container's"
	case "gomemlimit":
		return "GOMEMLIMIT"
	}
	return "the host's memory"
}

func about(t time.Duration) string {
	switch {
	case t <= 0:
		return "an unknown time"
	case t < 2*time.Minute:
		return fmt.Sprintf("%.0f s", t.Seconds())
	case t < 2*time.Hour:
		return fmt.Sprintf("%.0f min", t.Minutes())
	}
	return fmt.Sprintf("%.0f h", t.Hours())
}

// goroutines suspects a leak long before its members are old enough to be proven
// one: each interval leaves more, and no more requests are in flight.
func (d *diagnosis) goroutines(found map[Cause]bool) {
	rt := &d.rt
	grown := rt.Goroutines - rt.GoroutinesBefore
	inFlight := max0(d.now.InFlight) - max0(d.usual.InFlight)
	if found[GoroutineLeak] || d.past == 0 || d.young || d.slow() || !(grown >= 20) || !(grown >= 0.05*max0(rt.Created)*d.seconds) {
		return
	}
	// A request in flight, and each call it makes, has a handful of goroutines; so has a
	// client that listens to a stream.
	if waiting := max(inFlight, d.harm, 0) + d.listeners(); grown < 10*waiting || rt.Goroutines < 1.5*max0(d.was.Goroutines) || d.surge() > 1.4 {
		return
	}
	stay, top := d.sites(Stays)
	if stay == 0 {
		d.want(Stays)
	}
	if max0(top.Weight) < grown/2 { // it is not of those that came
		top.Function = ""
	}
	d.add(Finding{Cause: GoroutineLeak, Subject: top.Function, Level: Ticket, Confidence: 0.6,
		Summary: fmt.Sprintf("%.0f goroutines more than %v ago (%.0f, usually %.0f), with no more requests in flight", grown, shortTime(d.now.Interval), rt.Goroutines, max0(d.was.Goroutines)),
		Proof:   []Proof{{"go_goroutine_count", rt.Goroutines, 1.5 * max0(d.was.Goroutines), fmt.Sprintf("goroutines; of %.0f created in the interval %.0f stayed", max0(rt.Created)*d.seconds, grown)}}})
}

// listeners is how many more streams are open than before: each has a connection, and
// goroutines, for as long as its client wants.
func (d *diagnosis) listeners() float64 { return max0(d.rt.Streams - max0(d.rt.StreamsBefore)) }

func (d *diagnosis) descriptors(found map[Cause]bool) {
	rt := &d.rt
	grown := rt.Descriptors - rt.DescriptorsBefore - d.listeners()
	if rt.DescriptorMax > 0 && rt.Descriptors >= 0.85*rt.DescriptorMax {
		level := Ticket
		if rt.Descriptors >= 0.95*rt.DescriptorMax && !d.young {
			level = Page
		}
		if !found[DescriptorLeak] && !found[ConnectionLeak] {
			d.add(Finding{Cause: DescriptorLeak, Level: level, Confidence: 0.7,
				Summary: fmt.Sprintf("%.0f of %.0f file descriptors are open", rt.Descriptors, rt.DescriptorMax),
				Proof:   []Proof{{"process_unix_file_descriptor_count", rt.Descriptors, 0.85 * rt.DescriptorMax, fmt.Sprintf("%.0f open, of %.0f", rt.Descriptors, rt.DescriptorMax)}}})
		}
		return
	}
	if found[DescriptorLeak] || found[ConnectionLeak] || d.past == 0 || d.young || d.slow() || !(grown >= 20) || rt.Descriptors < 2*max0(d.was.Descriptors) || d.surge() > 1.4 {
		return
	}
	f := Finding{Cause: DescriptorLeak, Level: Ticket, Confidence: 0.6,
		Summary: fmt.Sprintf("%.0f file descriptors more than %v ago (%.0f, usually %.0f), with no more requests in flight", grown, shortTime(d.now.Interval), rt.Descriptors, max0(d.was.Descriptors)),
		Proof:   []Proof{{"process_unix_file_descriptor_count", rt.Descriptors, 2 * max0(d.was.Descriptors), fmt.Sprintf("%.0f open, of %s", rt.Descriptors, num(rt.DescriptorMax))}}}
	if rt.DescriptorMax > 0 {
		if left := (rt.DescriptorMax - rt.Descriptors) / (grown / d.seconds); left < 365*24*3600 {
			f.After = time.Duration(left * float64(time.Second))
		}
	}
	d.add(f)
}

// losses tells what of telemetry was lost.
func (d *diagnosis) losses() {
	bySignal := map[string]float64{}
	for _, l := range d.now.Losses {
		n := max0(l.Count)
		if n < failures || l.Of > 0 && n < 0.01*l.Of {
			continue
		}
		bySignal[l.Signal] += n
	}
	for _, l := range d.now.Losses { // in the list's order
		n := bySignal[l.Signal]
		if n == 0 {
			continue
		}
		delete(bySignal, l.Signal)
		d.add(Finding{Cause: TelemetryLoss, Subject: l.Signal, Level: Ticket, Confidence: 0.95,
			Summary: fmt.Sprintf("%.0f items of %s were lost in %v: what you see is not all", n, l.Signal, shortTime(d.now.Interval)),
			Proof:   []Proof{{"observe_dropped_total", n, failures, fmt.Sprintf("%.0f lost, by reason %s among others", n, l.Reason)}}})
	}
}
