package doctor

import (
	"fmt"
	"math"
	"strings"
)

const (
	// One failure in twenty is felt; fewer than three are chance.
	failingShare = 0.05
	failures     = 3
	// With so many failures its slowness, time-outs most likely, is theirs.
	failingMostly = 0.20
	// Calls of a request: as many again as usual.
	callsMore = 1.5
	// Of a loop: no request needs ten of one kind by design.
	loopCalls = 5.0
)

// calls blames what the service calls.
func (d *diagnosis) calls() {
	for i := range d.now.Dependencies {
		dep := &d.now.Dependencies[i]
		slower := d.partOf(dep.Name, func(p partFigures) float64 { return p.slower })
		more := d.partOf(dep.Name, func(p partFigures) float64 { return p.more })
		if !d.worthy(slower + more + d.stuckIn(dep.Name)) {
			continue
		}
		was := d.usualDependency(dep.Name)
		if d.callsFailing(dep, was, slower+more) || d.collapsed != dep.Name && d.callsLooped(dep, more) || d.connectionsChurn(dep, was, slower) || d.connectionsShort(dep, was, slower) {
			continue
		}
		d.callsSlow(dep, was, slower+d.stuckIn(dep.Name))
	}
	d.callsInTurn()
}

// callsInTurn blames routes whose calls are as many and as fast as ever, and are made
// one after another where they were made beside each other.
func (d *diagnosis) callsInTurn() {
	for i := range d.routes {
		r := &d.routes[i]
		if !d.worthy(r.inTurn) {
			continue
		}
		now, was := r.beside(), r.was.beside()
		d.explain(r.inTurn, 0, Finding{Cause: SlowRoute, Subject: r.Route.Route, Confidence: 0.8, slower: r.inTurn / r.rate,
			Summary: fmt.Sprintf("a request of %s makes %s calls at a time (usually %s): they wait for one another", r.Route.Route, num(now), num(was)),
			Proof:   []Proof{{"http_server_request_duration_seconds", r.mean, r.before, fmt.Sprintf("its calls take %s times as long together as the request waits for them; they are as many and as fast as ever", num(now))}}})
	}
}

// partOf adds up what the routes' waits for one dependency are beyond the usual.
func (d *diagnosis) partOf(name string, of func(partFigures) float64) (sum float64) {
	for i := range d.routes {
		for _, p := range d.routes[i].parts {
			if p.name == name {
				sum += of(p)
			}
		}
	}
	return sum
}

// stuckIn is how many of the requests that do not end are in calls of a dependency:
// no mean of calls that ended shows them.
func (d *diagnosis) stuckIn(name string) float64 {
	if d.stuck == 0 {
		return 0
	}
	for i := range d.now.Dependencies {
		dep := &d.now.Dependencies[i]
		if dep.Name != name {
			continue
		}
		active := max0(dep.Active)
		if was := d.usualDependency(name); was != nil {
			active = max(active-max0(was.Active), 0)
		}
		return min(active, d.stuck)
	}
	return 0
}

func (f *figures) usualDependency(name string) *Dependency {
	if f.past == 0 {
		return nil
	}
	for i := range f.usual.Dependencies {
		if w := &f.usual.Dependencies[i]; w.Name == name && w.Calls > 0 {
			return w
		}
	}
	return nil
}

// failing reports whether a dependency's errors are above usual, and their share.
func failing(dep, was *Dependency) (errors float64, yes bool) {
	if !(dep.Calls > 0) {
		return 0, false
	}
	errors = share(max0(dep.Errors), dep.Calls)
	usual := 0.0
	if was != nil {
		usual = share(max0(was.Errors), was.Calls)
	}
	return errors, dep.Errors >= failures && (errors >= failingShare && errors >= 3*usual || errors >= failingMostly)
}

// repeats reports whether a dependency's calls multiply because they fail, and by what.
func (d *diagnosis) repeats(dep, was *Dependency) (times float64, yes bool) {
	errors, bad := failing(dep, was)
	first := dep.Calls - max0(dep.Retries)
	if first > 0 && max0(dep.Retries) >= failures {
		times = dep.Calls / first
	}
	if was != nil && d.rate > 0 && d.usualRate > 0 {
		times = max(times, (dep.Calls/d.seconds/d.rate)/(max0(was.Calls)/d.past/d.usualRate))
	}
	return times, bad && errors > 0 && times >= callsMore
}

func (d *diagnosis) callsFailing(dep, was *Dependency, part float64) bool {
	errors, bad := failing(dep, was)
	if times, storm := d.repeats(dep, was); storm {
		return d.explain(part, 0, d.stormFinding(dep, errors, times))
	}
	if !bad || errors < failingMostly {
		return false
	}
	return d.explain(part, 0, d.failingFinding(dep, was, errors))
}

func (d *diagnosis) stormFinding(dep *Dependency, errors, times float64) Finding {
	return Finding{Cause: RetryStorm, Subject: dep.Name, Confidence: 0.85,
		Summary: fmt.Sprintf("calls of %s fail (%s) and are repeated: %s times the usual number for each request", dep.Name, pct(errors), num(times)),
		Proof: []Proof{
			{"observe_http_client_retries_total", max0(dep.Retries), failures, fmt.Sprintf("%.0f of %.0f calls are repeats; there are %s times as many calls a request as without them", max0(dep.Retries), dep.Calls, num(times))},
			{d.durationMetric(dep), errors, failingShare, pct(errors) + " of the calls fail"},
		}}
}

func (d *diagnosis) failingFinding(dep, was *Dependency, errors float64) Finding {
	usual := 0.0
	if was != nil {
		usual = share(max0(was.Errors), was.Calls)
	}
	return Finding{Cause: DependencyFailing, Subject: dep.Name, Confidence: 0.9,
		Summary: fmt.Sprintf("%s of the calls of %s fail (usually %s)", pct(errors), dep.Name, pct(usual)),
		Proof:   []Proof{{d.durationMetric(dep), errors, max(failingShare, 3*usual), fmt.Sprintf("%.0f of %.0f calls failed", max0(dep.Errors), dep.Calls)}}}
}

func (d *diagnosis) durationMetric(dep *Dependency) string {
	switch dep.Kind {
	case "http":
		return "http_client_request_duration_seconds"
	case "db":
		return "db_client_operation_duration_seconds"
	case "rpc":
		return "rpc_client_call_duration_seconds"
	case "messaging":
		return "messaging_client_operation_duration_seconds"
	}
	return "observe_dependency_duration_seconds"
}

// caches blames a cache whose misses are what a dependency gets more of. It comes
// before the pools: what the cache spared them, they cannot serve.
func (d *diagnosis) caches() {
	for i := range d.now.Caches {
		c := &d.now.Caches[i]
		ratio, usual, ok := d.hitRatio(c)
		if !ok || usual-ratio < 0.2 {
			continue
		}
		behind, most := "", 0.0
		for k := range d.now.Dependencies {
			name := d.now.Dependencies[k].Name
			if more := d.partOf(name, func(p partFigures) float64 { return p.more }); more > most {
				behind, most = name, more
			}
		}
		if behind == "" {
			continue
		}
		// And it is slower for it, unless that is by far the most: then it is itself.
		if slower := d.partOf(behind, func(p partFigures) float64 { return p.slower }); slower < 3*most {
			most += slower
		}
		if d.explain(most, 0, Finding{Cause: CacheCollapse, Subject: c.Cache, Confidence: 0.85,
			Summary:  fmt.Sprintf("cache %s hits for %s of the look-ups (usually %s), and the rest goes to %s", c.Cache, pct(ratio), pct(usual), behind),
			Proof:    []Proof{{"observe_cache_requests_total", ratio, usual - 0.2, fmt.Sprintf("%s of %.0f look-ups hit; %.0f loads began while the same key was being loaded", pct(ratio), c.Hits+c.Misses, max0(c.Stampedes))}},
			Symptoms: []string{"load of " + behind}}) {
			d.collapsed = behind
		}
	}
}

// hitRatio compares a cache with its usual self; both need enough look-ups.
func (d *diagnosis) hitRatio(c *Cache) (ratio, usual float64, ok bool) {
	const enough = 20
	n := max0(c.Hits) + max0(c.Misses)
	for i := range d.usual.Caches {
		if w := &d.usual.Caches[i]; w.Cache == c.Cache && d.past > 0 {
			if m := max0(w.Hits) + max0(w.Misses); n >= enough && m >= enough {
				return max0(c.Hits) / n, max0(w.Hits) / m, true
			}
		}
	}
	return 0, 0, false
}

// callsLooped blames a route that makes many calls where it made few.
func (d *diagnosis) callsLooped(dep *Dependency, more float64) bool {
	var worst *routeFigures
	var part partFigures
	for i := range d.routes {
		r := &d.routes[i]
		for _, p := range r.parts {
			if p.name != dep.Name {
				continue
			}
			repeated := share(max0(r.Repeated), r.Requests) >= 0.1
			took := p.more
			if r.was == nil && repeated {
				took = p.slower // all of it: nothing is known of before
			}
			if (p.calls >= loopCalls && p.calls >= 2*p.before && r.was != nil || repeated) && took > 0 && (worst == nil || took > part.more) {
				worst, part = r, p
				part.more = took
			}
		}
	}
	if worst == nil {
		return false
	}
	what := "calls of " + dep.Name
	if dep.Kind == "db" {
		what = worst.queries()
	}
	return d.explain(max(part.more, more), 0, Finding{Cause: RepeatedQueries, Subject: worst.Route.Route, Confidence: 0.9,
		Summary: fmt.Sprintf("a request of %s makes %s %s (usually %s)", worst.Route.Route, num(part.calls), what, num(part.before)),
		Proof:   []Proof{{d.durationMetric(dep), part.calls, max(loopCalls, 2*part.before), num(part.calls) + " calls for each request"}}})
}

// queries is what a route repeats, in words.
func (r *Route) queries() string {
	if r.Query == "" {
		return "queries"
	}
	return "queries (" + r.Query + ")"
}

// connectionsChurn blames new connections.
func (d *diagnosis) connectionsChurn(dep, was *Dependency, slower float64) bool {
	fresh, usual, connecting := share(max0(dep.Connections), dep.Calls), 0.0, max0(dep.Connecting)/d.seconds
	if was != nil {
		usual = share(max0(was.Connections), was.Calls)
		connecting = max(connecting-max0(was.Connecting)/d.past, 0)
	}
	if fresh < 0.3 || fresh < 3*usual || dep.Connections < failures {
		return false
	}
	// What connecting does not show, the first round trips on a cold connection, is in
	// the rest of a call that has little else; of a call that is mostly waiting for
	// the answer it is not.
	if connecting < 0.25*slower {
		return false
	}
	return d.explain(slower, 0, Finding{Cause: ConnectionChurn, Subject: dep.Name, Confidence: 0.85,
		Summary: fmt.Sprintf("%s of the calls of %s open a connection (usually %s)", pct(fresh), dep.Name, pct(usual)),
		Proof: []Proof{{"observe_http_client_connection_uses_total", fresh, max(0.3, 3*usual), fmt.Sprintf("%.0f of %.0f calls on a new connection", dep.Connections, dep.Calls)},
			{"observe_http_client_phase_duration_seconds", connecting, 0.25 * slower, num(connecting) + " goroutines are connecting at any moment, beyond the usual"}}})
}

// connectionsShort blames a client that opens no more connections than it has, and
// makes its calls wait for one: the dependency answers as fast as ever.
func (d *diagnosis) connectionsShort(dep, was *Dependency, slower float64) bool {
	wait := dep.short()
	more := wait / d.seconds
	answers, usual := share1(dep.Seconds-wait, dep.Calls), math.NaN()
	if was != nil {
		more -= was.short() / d.past
		usual = share1(was.Seconds, was.Calls)
	}
	if more <= 0 || more < 0.5*slower || answers >= 2*usual {
		return false
	}
	return d.explain(slower, 0, Finding{Cause: PoolExhausted, Subject: dep.Name, Confidence: 0.85, Next: "curl ADMIN/metrics | grep observe_http_client_phase",
		Summary: fmt.Sprintf("%s calls at a time wait for a connection to %s, for its client opens no more", num(more), dep.Name),
		Proof: []Proof{{"observe_http_client_phase_duration_seconds", more, 0.5 * slower,
			fmt.Sprintf("%s calls wait for a connection at any moment, beyond the usual; once they have one, the answer takes %s (usually %s)", num(more), dur(answers), dur(usual))}}})
}

// short is how long calls waited for a connection that was not opened for them.
func (dep *Dependency) short() float64 { return max(max0(dep.Waiting)-max0(dep.Connecting), 0) }

// callsSlow blames the dependency, one of its statements, or the one route whose
// calls alone are slow.
func (d *diagnosis) callsSlow(dep, was *Dependency, slower float64) bool {
	if dep.Kind == "db" {
		return d.databaseSlow(dep.Name, slower, nil, "")
	}
	// Who of those who use it is slower?
	users, hit, worst, most := 0, 0, "", 0.0
	for i := range d.now.Routes {
		for _, p := range d.now.Routes[i].Parts {
			if p.Name == dep.Name && p.Calls >= minRequests {
				users++
			}
		}
	}
	for i := range d.routes {
		if more := d.routes[i].slowerIn(dep.Name); more > 0 {
			hit++
			if more > most {
				worst, most = d.routes[i].Route.Route, more
			}
		}
	}
	f := d.slowFinding(dep, "", nil)
	if was != nil && hit == 1 && users > 1 && d.stuck == 0 {
		return d.explain(slower, 0, Finding{Cause: SlowRoute, Subject: worst, Confidence: 0.7,
			Summary: fmt.Sprintf("calls of %s are slow for %s alone; the other routes that use it are as fast as ever", dep.Name, worst), Proof: f.Proof})
	}
	return d.explain(slower, 0, f)
}

func (d *diagnosis) slowFinding(dep *Dependency, more string, proof []Proof) Finding {
	mean, usual := share1(dep.Seconds, dep.Calls), math.NaN()
	if was := d.usualDependency(dep.Name); was != nil {
		usual = share1(was.Seconds, was.Calls)
	}
	f := Finding{Cause: DependencySlow, Subject: dep.Name, Confidence: 0.9, slower: max0(mean - usual),
		Summary: fmt.Sprintf("%s takes %s to answer (usually %s)", dep.Name, dur(mean), dur(usual))}
	if dep.Kind == "db" {
		f.Cause, f.Summary = DatabaseSlow, fmt.Sprintf("operations of %s take %s (usually %s)", dep.Name, dur(mean), dur(usual))
	}
	if more != "" {
		f.Confidence, f.Summary = 0.8, f.Summary+"; "+more
	}
	f.Proof = append([]Proof{{d.durationMetric(dep), mean, usual, fmt.Sprintf("mean of %.0f calls of %s is %s (usually %s), p99 %s", dep.Calls, dep.Name, dur(mean), dur(usual), dur(max0(dep.P99)))}}, proof...)
	return f
}

// slowerIn is by how much the calls of one dependency are slower.
func (r *routeFigures) slowerIn(name string) (slower float64) {
	for _, p := range r.parts {
		if p.name == name {
			slower += p.slower
		}
	}
	return slower
}

// share1 is a mean, 0 of nothing.
func share1(sum, n float64) float64 {
	if !(n > 0) {
		return 0
	}
	return max0(sum) / n
}

// slowDatabase reports whether operations of a database take twice their usual time.
func (d *diagnosis) slowDatabase(name string) bool {
	was := d.usualDependency(name)
	for i := range d.now.Dependencies {
		dep := &d.now.Dependencies[i]
		if dep.Name == name && was != nil && dep.Calls >= minRequests {
			mean, usual := share1(dep.Seconds, dep.Calls)-3*d.delay, share1(was.Seconds, was.Calls)
			return mean >= 2*usual && mean-usual >= max(slowerMin, 3*d.delay)
		}
	}
	return false
}

// databaseSlow blames the one statement that is slower, if it is one among others,
// else the database.
func (d *diagnosis) databaseSlow(name string, part float64, proof []Proof, symptom string) bool {
	type slowed struct {
		*Query
		mean, usual, more float64
	}
	var worst slowed
	known, slow, total := 0, 0, 0.0
	for i := range d.now.Queries {
		q := &d.now.Queries[i]
		if q.Pool != name || q.Calls < minRequests || d.past == 0 {
			continue
		}
		for k := range d.usual.Queries {
			w := &d.usual.Queries[k]
			if w.Pool != q.Pool || w.Summary != q.Summary || w.Calls < minRequests {
				continue
			}
			known++
			s := slowed{Query: q, mean: share1(q.Seconds, q.Calls), usual: share1(w.Seconds, w.Calls)}
			longer := s.mean - s.usual - 3*d.delay
			if longer <= 3*d.delay || s.mean < slowerBy*s.usual || longer < slowerMin/2 {
				continue
			}
			slow++
			s.more = q.Calls / d.seconds * longer
			total += s.more
			if s.more > worst.more {
				worst = s
			}
		}
	}
	var symptoms []string
	if symptom != "" {
		symptoms = []string{symptom}
	}
	if worst.Query != nil && known > 1 && worst.more >= 0.8*total && slow <= (known+1)/2 {
		return d.explain(part, 0, Finding{Cause: SlowQuery, Subject: worst.Summary, Confidence: 0.85, Symptoms: symptoms, slower: worst.mean - worst.usual,
			Summary: fmt.Sprintf("%s takes %s (usually %s) on %s; the other statements are as fast as ever", worst.Summary, dur(worst.mean), dur(worst.usual), name),
			Proof:   append([]Proof{{"db_client_operation_duration_seconds", worst.mean, worst.usual, fmt.Sprintf("mean of %.0f executions; %d of %d other statements are slower", worst.Calls, slow-1, known-1)}}, proof...)})
	}
	mean, usual := 0.0, math.NaN()
	for i := range d.now.Dependencies {
		if dep := &d.now.Dependencies[i]; dep.Name == name {
			mean = share1(dep.Seconds, dep.Calls)
		}
	}
	if was := d.usualDependency(name); was != nil {
		usual = share1(was.Seconds, was.Calls)
	}
	return d.explain(part, 0, Finding{Cause: DatabaseSlow, Subject: name, Confidence: 0.9, Symptoms: symptoms, slower: max0(mean - usual),
		Summary: fmt.Sprintf("operations of %s take %s (usually %s)", name, dur(mean), dur(usual)),
		Proof:   append([]Proof{{"db_client_operation_duration_seconds", mean, usual, fmt.Sprintf("mean of all operations; %d of %d statements are slower", slow, known)}}, proof...)})
}

// alwaysWasteful tells of calls that no program means to make so, however usual they
// are: queries in a loop, and connections that are used once. Those that cost little
// are good to know, and left out unless asked for.
func (d *diagnosis) alwaysWasteful(little bool) {
	level := func(part, whole float64) (Level, string) {
		switch {
		case part >= wasted*d.load:
			return d.level(part), ", and has always"
		case little && part >= worthKnowing*whole && len(d.findings) < 3: // a few say it
			return Info, ""
		}
		return "", ""
	}
	for i := range d.now.Routes {
		r := &d.now.Routes[i]
		if share(max0(r.Repeated), max0(r.Requests)) < 0.5 {
			continue
		}
		for _, p := range r.Parts {
			calls := share1(p.Calls, r.Requests)
			part := min(max0(p.Seconds), max0(r.Waited)) / d.seconds
			level, ever := level(part, max0(r.Seconds)/d.seconds)
			if calls < loopCalls || level == "" {
				continue
			}
			d.add(Finding{Cause: RepeatedQueries, Subject: r.Route, Level: level, Share: share(part, d.load), Confidence: 0.8, chronic: true,
				Summary: fmt.Sprintf("a request of %s makes %s %s of %s%s", r.Route, num(calls), r.queries(), p.Name, ever),
				Proof:   []Proof{{"observe_db_repeated_queries_total", r.Repeated, 0.5 * r.Requests, fmt.Sprintf("%.0f of %.0f requests ran one query too often", r.Repeated, r.Requests)}}})
		}
	}
	for i := range d.now.Dependencies {
		dep := &d.now.Dependencies[i]
		if wait := dep.short() / d.seconds; wait >= wasted*d.load && wait >= wastedMin*d.rate {
			d.add(Finding{Cause: PoolExhausted, Subject: dep.Name, Level: d.level(wait), Share: share(wait, d.load), Confidence: 0.8, chronic: true, Next: "curl ADMIN/metrics | grep observe_http_client_phase",
				Summary: fmt.Sprintf("%s calls at a time wait for a connection to %s, and always have", num(wait), dep.Name),
				Proof:   []Proof{{"observe_http_client_phase_duration_seconds", wait, wasted * d.load, fmt.Sprintf("once they have one, the answer takes %s", dur(share1(dep.Seconds-dep.short(), dep.Calls)))}}})
		}
		fresh, connecting := share(max0(dep.Connections), max0(dep.Calls)), max0(dep.Connecting)/d.seconds
		level, ever := level(connecting, max0(dep.Seconds)/d.seconds)
		if fresh < 0.5 || dep.Connections < 4*minRequests || level == "" {
			continue
		}
		d.add(Finding{Cause: ConnectionChurn, Subject: dep.Name, Level: level, Share: share(connecting, d.load), Confidence: 0.8, chronic: true,
			Summary: fmt.Sprintf("%s of the calls of %s open a connection%s", pct(fresh), dep.Name, strings.Replace(ever, "has always", "always have", 1)),
			Proof:   []Proof{{"observe_http_client_phase_duration_seconds", connecting, wasted * d.load, num(connecting) + " goroutines are connecting at any moment"}}})
	}
}
