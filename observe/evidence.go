package observe

import (
	"math"
	"runtime"
	runtimes "runtime/metrics"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/observe/doctor"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// evidence gathers what a diagnosis rests on: what all that is measured anyway
// grew by between two looks. Nothing on the path of a request knows of it. Each
// has a memory of its own of its last look, so that two do not disturb each
// other. Its methods may not be called concurrently.
type evidence struct {
	t          *Telemetry
	before     runtimemetrics.Snapshot // at the last look
	streams    float64                 // open then
	heapBefore float64                 // see Runtime.HeapBefore
	seen       map[string]int          // how many series of each metric are known

	routes       indexed[*routeEvidence]
	dependencies indexed[*dependencyEvidence]
	queries      indexed[*queryEvidence]
	jobs         indexed[*jobEvidence]
	pools        indexed[*poolEvidence]
	queues       indexed[*queueEvidence]
	caches       indexed[*cacheEvidence]
	losses       map[loss]int64
	hosts        map[*clientHost]*dependencyEvidence
	parties      map[*span.Party]*dependencyEvidence

	samples  float64 // since the last look
	inFlight float64 // their sum, like those of others that are sampled
	running  [2]runtimes.Sample
	threads  float64 // goroutines not in Go
	alive    float64 // goroutines
	scratch  dto.Metric
}

// indexed are things in the order in which they were first seen, by name.
type indexed[T any] struct {
	all []T
	at  map[string]T
}

func (x *indexed[T]) named(name string, make func(name string) T) T {
	if one, ok := x.at[name]; ok {
		return one
	}
	if x.at == nil {
		x.at = map[string]T{}
	}
	name = strings.Clone(name)
	one := make(name)
	x.at[name] = one
	x.all = append(x.all, one)
	return one
}

type routeEvidence struct {
	total
	name, path string // "GET /orders/{id}", "/orders/{id}"
	pace       *span.Pace
	covered    time.Duration
	parts      []partEvidence
	repeated   int64
}

// partEvidence is what the requests of a route had waited for one party at the last look.
type partEvidence struct {
	calls, failed int64
	took          time.Duration
}

type dependencyEvidence struct {
	total
	is          span.Party
	phases      [3]float64 // seconds of connecting, of TLS, of waiting for a connection
	dns         total
	connections int64
	resent      int64
	open        float64 // calls under way, the sum of the samples
	place       int     // among all
}

type queryEvidence struct {
	total
	pool, summary string
}

type jobEvidence struct {
	total
	name   string
	wait   total
	active float64 // the sum of the samples
}

type poolEvidence struct {
	name     string
	waits    int64
	waited   time.Duration
	created  total
	timeouts float64
	inUse    float64 // the sum of the samples
}

type queueEvidence struct {
	name                         string
	length, added, taken         int64
	blocked                      float64
	hasLength, hasAdded, hasSend bool
	answers
	told doctor.Queue
}

// answers tells what the answers of a function of the program's say of an interval:
// they come at their own pace.
type answers struct{ at time.Time }

// since takes note of when the last answer came and returns what part of what
// happened since the one before is of an interval: 0 when there is no new answer,
// and what the last ones said still holds.
func (a *answers) since(at time.Time, interval time.Duration) (part float64) {
	span, first := at.Sub(a.at), a.at.IsZero()
	switch a.at = at; {
	case first:
		return 1
	case span <= 0:
		return 0
	case span > interval*3/2: // it is of more than this interval
		return float64(interval) / float64(span)
	}
	return 1
}

type cacheEvidence struct {
	name         string
	hits, misses int64
	stampedes    float64
	load         total
	answers
	told doctor.Cache
}

func newEvidence(t *Telemetry) *evidence {
	e := &evidence{
		t: t, seen: map[string]int{}, losses: map[loss]int64{}, hosts: map[*clientHost]*dependencyEvidence{}, parties: map[*span.Party]*dependencyEvidence{},
	}
	e.running[0].Name, e.running[1].Name = "/sched/goroutines/not-in-go:goroutines", "/sched/goroutines:goroutines"
	return e
}

// maxUnderWay bounds the spans that a sample looks at.
const maxUnderWay = 2000

// sample reads the gauges that a look wants the mean of.
func (e *evidence) sample() {
	e.samples++
	e.inFlight += float64(max(e.t.server.running()-e.t.server.streaming.Load(), 0)) // streams are to stay
	runtimes.Read(e.running[:])
	for i, to := range []*float64{&e.threads, &e.alive} {
		if v := e.running[i].Value; v.Kind() == runtimes.KindUint64 {
			*to += float64(v.Uint64())
		} else {
			*to = math.NaN()
		}
	}
	for _, p := range e.t.pools.list() {
		e.pool(p.name).inUse += float64(p.db.Stats().InUse)
	}
	for _, s := range e.t.jobs.list() {
		e.job(s.name).active += float64(s.active.value())
	}
	e.t.provider.UnderWay(maxUnderWay, func(s *span.Span) {
		if d := e.dependencyOf(s); d != nil {
			d.open++
		}
	})
}

// dependencyOf is the dependency that a span which is under way waits for, nil
// where it is not known.
func (e *evidence) dependencyOf(s *span.Span) *dependencyEvidence {
	var party *span.Party
	switch d := s.Describer().(type) {
	case nil:
		key, ok := describeDependency(s)
		if !ok {
			return nil
		}
		party = e.t.parties.named(key.party(true))
	case *statement:
		party = d.db.party
	case *outgoing:
		party = d.host.stats.party
	case *call:
		party = e.t.parties.named(span.Party{Kind: kindOther, Name: d.dependency})
	case *run:
		party = d.party
	}
	if party == nil {
		return nil
	}
	d, ok := e.parties[party]
	if !ok {
		d = e.dependency(*party)
		e.parties[party] = d
	}
	return d
}

func (e *evidence) dependency(is span.Party) *dependencyEvidence {
	return e.dependencies.named(is.Kind+" "+is.Name, func(string) *dependencyEvidence {
		is.Name = strings.Clone(is.Name)
		return &dependencyEvidence{is: is, total: total{spread: true}, place: len(e.dependencies.all)}
	})
}

func (e *evidence) pool(name string) *poolEvidence {
	return e.pools.named(name, func(name string) *poolEvidence { return &poolEvidence{name: name} })
}

func (e *evidence) job(name string) *jobEvidence {
	return e.jobs.named(name, func(name string) *jobEvidence { return &jobEvidence{name: name} })
}

func (e *evidence) cache(name string) *cacheEvidence {
	return e.caches.named(name, func(name string) *cacheEvidence { return &cacheEvidence{name: name} })
}

// news returns the series of a metric that were made since the last look.
func (e *evidence) news(d Description) []*histogram {
	hs := e.t.metrics.timing(d)
	if hs == nil {
		return nil
	}
	made := hs.behind(e.seen[d.Name])
	e.seen[d.Name] += len(made)
	return made
}

// discover finds the series that are new.
func (e *evidence) discover() {
	for _, h := range e.news(serverDuration) {
		method, path := h.label("http_request_method"), h.label("http_route")
		e.routes.named(method+" "+path, func(name string) *routeEvidence {
			r := &routeEvidence{name: name, path: path, total: total{spread: true}}
			r.pace = e.t.provider.Pace(spanNameOf(method, path))
			return r
		}).add(h, servedOutcome(h))
	}
	for _, h := range e.news(clientDuration) {
		e.dependency(span.Party{Kind: kindHTTP, Name: hostName(h.label("server_address"), h.label("server_port"))}).add(h, calledOutcome(h))
	}
	for _, h := range e.news(dbDuration) {
		name, class := or(h.label("db_namespace"), h.label("db_system_name")), databaseOutcome(h)
		e.dependency(span.Party{Kind: kindDatabase, Name: name}).add(h, class)
		if summary := h.label("db_query_summary"); summary != "" {
			e.queries.named(name+"\xff"+summary, func(string) *queryEvidence { return &queryEvidence{pool: name, summary: summary} }).add(h, class)
		}
	}
	for _, h := range e.news(rpcDuration) {
		e.dependency(span.Party{Kind: kindRPC, Name: or(h.label("server_address"), h.label("rpc_system_name"))}).add(h, calledOutcome(h))
	}
	for _, h := range e.news(messagingDuration) {
		e.dependency(span.Party{Kind: kindMessaging, Name: or(h.label("messaging_destination_name"), h.label("messaging_system"))}).add(h, calledOutcome(h))
	}
	for _, h := range e.news(dependencyDuration) {
		e.dependency(span.Party{Kind: kindOther, Name: h.label("dependency")}).add(h, calledOutcome(h))
	}
	for _, h := range e.news(dnsDuration) {
		host := h.label("dns_question_name")
		for _, d := range e.dependencies.all {
			if name, _ := hostPort(d.is.Name); d.is.Kind == kindHTTP && name == host {
				d.dns.add(h, outcomeFine)
			}
		}
	}
	for _, h := range e.news(dbCreateTime) {
		e.pool(h.label("db_client_connection_pool_name")).created.add(h, outcomeFine)
	}
	for _, h := range e.news(jobDuration) {
		e.job(h.label("job_name")).add(h, calledOutcome(h))
	}
	for _, h := range e.news(jobWait) {
		e.job(h.label("job_name")).wait.add(h, outcomeFine)
	}
	for _, h := range e.news(cacheLoad) {
		e.cache(h.label("cache")).load.add(h, outcomeFine)
	}
}

// databaseOutcome does not blame a database for what its constraints refused or
// could not read of a statement: SQL states of the classes 22 and 23.
func databaseOutcome(h *histogram) outcome {
	if class := h.label("error_type"); len(class) == 5 && (strings.HasPrefix(class, "22") || strings.HasPrefix(class, "23")) {
		return outcomeFine
	}
	return calledOutcome(h)
}

// begin takes what there is as the beginning of the first interval.
func (e *evidence) begin() {
	var w doctor.Window
	e.look(&w)
}

// look fills w with what happened since the last one. Its lists are used again.
func (e *evidence) look(w *doctor.Window) {
	now := e.t.sampler.Read()
	if e.samples == 0 {
		e.sample()
	}
	e.discover()
	if e.before.Time.IsZero() {
		e.before = now
	}
	delta := now.Since(&e.before)
	w.Time, w.Interval = delta.Time, delta.Interval
	w.Runtime = e.runtime(&delta)
	w.InFlight = e.inFlight / e.samples
	e.lookRoutes(w)
	e.lookDependencies(w)
	e.lookPools(w)
	e.lookJobs(w)
	e.lookQueues(w)
	e.lookCaches(w)
	e.lookLeaks(w, &delta)
	e.lookLosses(w)
	w.Sites = w.Sites[:0]
	e.before, e.streams = now, w.Runtime.Streams
	e.samples, e.inFlight, e.threads, e.alive = 0, 0, 0, 0
}

// listening is how many requests have clients that stay: those that said so, or whose
// connections handlers took over and may have left to others.
func (t *Telemetry) listening() float64 {
	taken := 0
	for _, c := range t.listeners.all() {
		taken += c.taken.count()
	}
	return max(float64(t.server.streaming.Load()), float64(taken))
}

// orNot is v where it is known.
func orNot(v float64) float64 {
	if !runtimemetrics.Known(v) {
		return math.NaN()
	}
	return v
}

func (e *evidence) runtime(d *runtimemetrics.Delta) doctor.Runtime {
	latest, _ := e.t.sampler.Latest() // the trend of minutes, which one interval does not show
	cpus := float64(runtime.NumCPU())
	cpu := orNot(d.CPUUser + d.CPUSystem)
	io := d.ContainerPressure.IOSome
	if !runtimemetrics.Known(io) {
		io = d.HostPressure.IOSome
	}
	// Between two collections nothing is known of what is live: what the last ones
	// showed still holds, as far as it can: no heap grows by more than is allocated.
	before := e.before.Memory.HeapLive
	if !(d.GCPerSecond > 0) && e.heapBefore > 0 {
		before = max(e.heapBefore, before-max(d.AllocatedPerSecond, 0)*d.Interval.Seconds())
	}
	e.heapBefore = orNot(before)
	mean := 0.0
	if n := d.Sched.Count(); n > 0 {
		mean = d.Sched.Sum().Seconds() / float64(n)
	}
	quantile := func(known bool, v time.Duration) float64 {
		if !known {
			return math.NaN()
		}
		return v.Seconds()
	}
	r := doctor.Runtime{
		Processors: orNot(d.Now.Processors), CPUs: cpus, CPULimit: orNot(d.Now.Container.CPULimit), CPU: cpu,
		SchedWait: orNot(d.SchedWait), SchedMean: quantile(d.Sched.Known(), time.Duration(mean*1e9)), SchedP99: quantile(d.Sched.Known(), d.SchedP99),
		WakeupMean: meanOf(&d.Wakeup),
		WakeupP50:  quantile(d.Wakeup.Known() && d.Wakeup.Count() > 0, d.WakeupP50), WakeupP99: quantile(d.Wakeup.Known() && d.Wakeup.Count() > 0, d.WakeupP99),
		MutexWait: orNot(d.MutexWait),
		GCShare:   orNot(d.GCShare - d.GCIdleShare), GCAssist: orNot(d.GCAssist), GCPerSecond: orNot(d.GCPerSecond), ForcedGC: orNot(d.ForcedGCPerSecond),
		PauseShare: orNot(d.PauseShare), GCLimited: d.GCLimited, HeapHeldDown: d.HeapHeldDown, AllocatedBytes: orNot(d.AllocatedPerSecond),
		Throttled: orNot(d.Throttled), ThrottledShare: orNot(d.ThrottledShare), RunDelay: orNot(d.RunDelay),
		HostBusy: orNot(d.HostBusyShare), HostOwn: cpu / cpus, Steal: orNot(d.StealShare),
		CPUPressure: orNot(d.HostPressure.CPUSome), IOPressure: orNot(io),
		MemoryFree: orNot(d.Headroom.Ratio), MemoryBy: d.Headroom.By, MemoryAfter: latest.Headroom.After,
		HeapLive: orNot(d.Now.Memory.HeapLive), HeapBefore: e.heapBefore, HeapRoom: orNot(d.Headroom.Limit - d.Headroom.Used),
		Goroutines: orNot(d.Now.Goroutines.Total), GoroutinesBefore: orNot(e.before.Goroutines.Total), Created: orNot(d.GoroutinesPerSecond),
		Streams: e.t.listening(), StreamsBefore: e.streams,
		NotInGo: e.threads / e.samples, Threads: orNot(d.Now.Process.Threads),
		Descriptors: orNot(d.Now.Process.Descriptors), DescriptorsBefore: orNot(e.before.Process.Descriptors), DescriptorMax: orNot(d.Now.Process.DescriptorLimit),
	}
	return r
}

func (e *evidence) lookRoutes(w *doctor.Window) {
	w.Routes = resize(w.Routes, len(e.routes.all))
	cpu := e.t.profiler.cores(e.before.Time)
	for i, r := range e.routes.all {
		g := r.grown()
		to := &w.Routes[i]
		*to = doctor.Route{
			Route: r.name, Requests: g.count, Errors: g.failed, Panics: g.panicked, Canceled: g.canceled, Seconds: g.seconds, P50: g.p50, P99: g.p99,
			Parts: to.Parts[:0],
		}
		covered, parties, ok := r.pace.Waited()
		if !ok {
			to.Waited = math.NaN()
		} else {
			to.Waited = since(covered, &r.covered) / 1e9
			for k, p := range parties {
				if k == len(r.parts) {
					r.parts = append(r.parts, partEvidence{})
				}
				calls, failed, took := p.Totals()
				was := &r.parts[k]
				part := doctor.Part{Name: p.Party.Name, Calls: since(calls, &was.calls), Errors: since(failed, &was.failed), Seconds: since(took, &was.took) / 1e9}
				if part.Calls > 0 || part.Seconds > 0 {
					to.Parts = append(to.Parts, part)
				}
			}
		}
		if n, query := e.t.databases.repeats.of(spanNameOf(cut(r.name))); n > 0 {
			if to.Repeated = since(n, &r.repeated); to.Repeated > 0 {
				to.Query = query
			}
		}
		to.CPU = math.NaN()
		if cpu != nil {
			to.CPU = cpu[r.path]
		}
	}
	if cpu != nil {
		e.divide(w, cpu)
	}
}

// divide gives the routes that differ by their method alone their parts of the
// CPU time, which profiles tell by path: each by its time.
func (e *evidence) divide(w *doctor.Window, cpu map[string]float64) {
	type sum struct {
		seconds float64
		routes  int
	}
	var sums map[string]sum
	for i, r := range e.routes.all {
		if cpu[r.path] > 0 {
			if sums == nil {
				sums = make(map[string]sum, len(cpu))
			}
			s := sums[r.path]
			sums[r.path] = sum{s.seconds + w.Routes[i].Seconds, s.routes + 1}
		}
	}
	for i, r := range e.routes.all {
		if s := sums[r.path]; s.routes > 1 && s.seconds > 0 {
			w.Routes[i].CPU *= w.Routes[i].Seconds / s.seconds
		}
	}
}

func cut(name string) (method, path string) {
	method, path, _ = strings.Cut(name, " ")
	return method, path
}

func (e *evidence) lookDependencies(w *doctor.Window) {
	for _, h := range e.t.client.hosts.known() {
		if e.hosts[h] == nil {
			e.hosts[h] = e.dependency(*h.party)
		}
	}
	w.Dependencies = resize(w.Dependencies, len(e.dependencies.all))
	for i, d := range e.dependencies.all {
		g := d.grown()
		w.Dependencies[i] = doctor.Dependency{
			Name: d.is.Name, Kind: d.is.Kind, Calls: g.count, Errors: g.failed, Seconds: g.seconds, P50: g.p50, P99: g.p99, Active: d.open / e.samples,
			Connecting: d.dns.grown().seconds,
		}
		d.open = 0
	}
	for h, d := range e.hosts {
		to := &w.Dependencies[d.place]
		to.Connections += since(h.uses[0].value(), &d.connections)
		to.Retries += since(h.resent.Load(), &d.resent)
		for k, phase := range [...]int{phaseConnect, phaseTLS, phaseWait} {
			t := h.phases[phase].Load()
			if t == nil {
				continue
			}
			if took := since(t.own.total(), &d.phases[k]); phase == phaseWait {
				to.Waiting += took
			} else {
				to.Connecting += took
			}
		}
	}
	w.Queries = resize(w.Queries, len(e.queries.all))
	for i, q := range e.queries.all {
		g := q.grown()
		w.Queries[i] = doctor.Query{Pool: q.pool, Summary: q.summary, Calls: g.count, Errors: g.failed, Seconds: g.seconds}
	}
}

func (e *evidence) lookPools(w *doctor.Window) {
	type state struct {
		waits              int64
		waited             time.Duration
		max, rows          float64
		pending            float64
		unlimited, unknown bool
		timeouts           float64
		open               bool
		connections        int
	}
	states := map[string]*state{}
	e.t.pools.mu.Lock()
	for name, ended := range e.t.pools.ended {
		states[name] = &state{waits: ended.waits, waited: ended.waited}
	}
	e.t.pools.mu.Unlock()
	for _, p := range e.t.pools.list() {
		s := states[p.name]
		if s == nil {
			s = &state{}
			states[p.name] = s
		}
		pending, known := p.peek.pending()
		stats := p.db.Stats()
		s.open = true
		s.connections += stats.OpenConnections
		s.waits += stats.WaitCount
		s.waited += stats.WaitDuration
		s.max += float64(stats.MaxOpenConnections)
		s.unlimited = s.unlimited || stats.MaxOpenConnections <= 0
		s.pending += float64(pending)
		s.unknown = s.unknown || !known
		s.rows += float64(len(p.database.unclosed(time.Now())))
		s.timeouts = e.counter(p.database.timeouts)
		e.pool(p.name)
	}
	w.Pools = resize(w.Pools, len(e.pools.all))
	for i, p := range e.pools.all {
		to := &w.Pools[i]
		*to = doctor.Pool{Name: p.name}
		s := states[p.name]
		if s == nil {
			continue
		}
		to.Waits, to.WaitSeconds = since(s.waits, &p.waits), since(s.waited, &p.waited)/1e9
		to.Open, to.Opened = float64(s.connections), p.created.grown().count
		to.Timeouts = since(s.timeouts, &p.timeouts)
		if to.InUse = p.inUse / e.samples; !s.open {
			to.InUse = 0
		}
		p.inUse = 0
		if !s.unlimited {
			to.Max = s.max
		}
		if to.Pending = s.pending; s.unknown {
			to.Pending = math.NaN()
		}
		to.Unclosed = s.rows
	}
}

func (e *evidence) lookJobs(w *doctor.Window) {
	now := time.Now()
	for _, s := range e.t.jobs.list() {
		e.job(s.name)
	}
	cpu := e.t.profiler.cores(e.before.Time)
	w.Jobs = resize(w.Jobs, len(e.jobs.all))
	for i, j := range e.jobs.all {
		g, wait := j.grown(), j.wait.grown()
		to := &w.Jobs[i]
		*to = doctor.Job{Job: j.name, Runs: g.count, Errors: g.failed, Seconds: g.seconds, WaitSeconds: wait.seconds, Active: j.active / e.samples, CPU: math.NaN()}
		if cpu != nil {
			to.CPU = cpu[jobPrefix+j.name]
		}
		if s, ok := e.t.jobs.found.get(j.name); ok && s.every.Load() > 0 {
			to.Overdue = s.overdue(now).Seconds()
		}
		j.active = 0
	}
}

func (e *evidence) lookQueues(w *doctor.Window) {
	w.Queues = w.Queues[:0]
	for _, q := range e.t.queues.list() {
		v := e.queues.named(q.name, func(name string) *queueEvidence { return &queueEvidence{name: name} })
		d, seen, ok := q.depth()
		if !ok {
			continue
		}
		to := doctor.Queue{Queue: q.name, Length: float64(d.Length), Before: float64(v.length), Capacity: float64(d.Capacity), Oldest: d.Oldest.Seconds()}
		if !v.hasLength { // nothing is known of the beginning
			to.Before, v.hasLength = to.Length, true
		}
		v.length = d.Length
		added, taken := since(d.Added, &v.added), since(d.Taken, &v.taken)
		part := v.since(q.answered(), w.Interval)
		to.Before = max(to.Length-part*(to.Length-to.Before), 0)
		if v.hasAdded {
			to.Added, to.Taken = part*added, part*taken
		}
		v.hasAdded = seen.Added != 0 || seen.Taken != 0
		if !v.hasAdded {
			to.Added, to.Taken = math.NaN(), math.NaN()
		}
		if part == 0 {
			to = v.told
		}
		v.told = to
		if c := q.channel(); c != nil {
			blocked := since(c.sending.seconds(c.now()), &v.blocked)
			if v.hasSend {
				to.Blocked = blocked
			}
			v.hasSend = true
		}
		w.Queues = append(w.Queues, to)
	}
}

func (e *evidence) lookCaches(w *doctor.Window) {
	for _, k := range e.t.caches.list() {
		e.cache(k.name)
	}
	w.Caches = resize(w.Caches, len(e.caches.all))
	for i, c := range e.caches.all {
		to := &w.Caches[i]
		*to = doctor.Cache{Cache: c.name, LoadSeconds: c.load.grown().seconds}
		k := e.t.caches.known(c.name)
		if k == nil {
			continue
		}
		to.Stampedes = since(e.counter(k.stampedes), &c.stampedes)
		s, seen, ok := k.state()
		if !ok || seen.Hits|seen.Misses == 0 {
			to.Hits, to.Misses = math.NaN(), math.NaN()
			continue
		}
		part := c.since(k.answered(), w.Interval)
		to.Hits, to.Misses = part*since(s.Hits, &c.hits), part*since(s.Misses, &c.misses)
		if part == 0 {
			to.Hits, to.Misses = c.told.Hits, c.told.Misses
		}
		c.told = *to
	}
}

// lookLeaks tells the suspects of the watch for leaks, and when each will have
// taken what is left.
func (e *evidence) lookLeaks(w *doctor.Window, d *runtimemetrics.Delta) {
	w.Leaks = w.Leaks[:0]
	if e.t.leaks == nil {
		return
	}
	look, ok := e.t.leaks.last()
	if !ok {
		return
	}
	room := d.Headroom.Limit - d.Headroom.Used
	for _, s := range look.Suspects {
		l := doctor.Leak{Kind: s.Kind, Site: siteLabel(s), Count: float64(s.Count), PerHour: s.PerHour, Confidence: s.Confidence}
		if l.Site == "" {
			l.Site = clip(s.Group, 200)
		}
		left := math.NaN()
		switch s.Kind {
		case "heap":
			left = room
		case "goroutine": // a stack each, and what it refers to is not known
			if n := d.Now.Goroutines.Total; n > 0 {
				left = room / (d.Now.Memory.Stack / n)
			}
		case "file", "socket", "close_wait", "pipe", "descriptor", "body":
			left = d.Now.Process.DescriptorLimit - d.Now.Process.Descriptors
		case "rows", "tx":
			for _, p := range w.Pools {
				if p.Max > 0 && strings.Contains(s.Group, p.Name) {
					left = p.Max - p.Unclosed
				}
			}
		}
		if hours := left / s.PerHour; hours > 0 && hours < 365*24 {
			l.After = time.Duration(hours * float64(time.Hour))
		}
		w.Leaks = append(w.Leaks, l)
	}
}

func (e *evidence) lookLosses(w *doctor.Window) {
	w.Losses = w.Losses[:0]
	add := func(of loss, now int64, all float64) {
		was := e.losses[of]
		if n := since(now, &was); n > 0 {
			w.Losses = append(w.Losses, doctor.Loss{Signal: of.signal, Reason: of.reason, Count: n, Of: all})
		}
		e.losses[of] = now
	}
	e.t.losses.mu.Lock()
	for of, n := range e.t.losses.counts {
		add(of, int64(n), 0)
	}
	e.t.losses.mu.Unlock()
	produced := int64(0)
	sums := map[string]int64{}
	for _, x := range e.t.provider.Stats().Exporters {
		produced += x.Produced
		for reason, n := range x.Dropped {
			sums[reason] += n
		}
	}
	was := e.losses[loss{"traces", ""}]
	all := since(produced, &was)
	e.losses[loss{"traces", ""}] = produced
	for reason, n := range sums {
		add(loss{"traces", reason}, n, all)
	}
	slices.SortFunc(w.Losses, func(a, b doctor.Loss) int { return strings.Compare(a.Signal+a.Reason, b.Signal+b.Reason) })
}

// counter reads a counter.
func (e *evidence) counter(c prometheus.Metric) float64 {
	e.scratch.Reset()
	c.Write(&e.scratch)
	return e.scratch.GetCounter().GetValue()
}

// resize returns n elements, those of old where there are as many.
func resize[T any](old []T, n int) []T {
	if cap(old) < n {
		wide := make([]T, n, n+n/4+4)
		copy(wide, old)
		return wide
	}
	return old[:n]
}

// meanOf is the mean of what was recorded, in seconds, NaN where nothing was.
func meanOf(d *runtimemetrics.Distribution) float64 {
	if n := d.Count(); d.Known() && n > 0 {
		return d.Sum().Seconds() / float64(n)
	}
	return math.NaN()
}
