package observe

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/pprof/profile"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/loadline-go/loadline/runtimemetrics"
)

const (
	// Ten seconds of a busy core are a thousand samples: a route that takes 30 %
	// of them is told to within 3 points, one of 10 % to within 2 (two standard
	// errors of a share p of n samples, 2*sqrt(p*(1-p)/n)).
	profileFor = 10 * time.Second
	// What was hot ten minutes ago: with one a minute, nearly so.
	profilesKept = 6
	// The first one comes early, so that a short life is told of, too.
	firstProfile = 5 * time.Second
	// One in a hundred contentions of a lock, and waits by their length, one for
	// each 100 us: beyond the noise neither could be measured on a loaded service.
	mutexFraction = 100
	blockNanos    = 100_000
	// The label of samples that belong to no request: the collector, the sampler,
	// goroutines of the program's own.
	noRoute = "none"
	// Below this limit of memory the small mode has profiles of ten seconds a
	// minute also for a server, instead of without a pause, and keeps half as
	// many: agents that profile have exhausted pods of 500 MB.
	smallMemory = 512 << 20
)

// profiler takes CPU profiles of its own process, one a minute or, for a
// Pyroscope server, all the time; it keeps the last ones, a minute apart, and
// counts CPU time by route.
type profiler struct {
	t     *Telemetry
	every time.Duration
	cpu   *vec[prometheus.Counter]
	costs costs

	push   *pyroscope // nil: nobody wants them
	deltas *deltas

	turn chan struct{}                      // holds one: whoever runs the process's CPU profiler
	stop atomic.Pointer[context.CancelFunc] // ends the profile that run takes

	mu        sync.Mutex
	kept      []keptProfile      // the newest last
	shares    []cpuShare         // of the newest profile, kept or not
	last      keptProfile        // the newest profile, kept or not, busy or not
	undivided float64            // CPU seconds of no route yet
	divided   map[string]float64 // CPU seconds since the start, as cpu counts them; nil: none yet
}

// keptProfile is one CPU profile in memory, some 10 to 100 kB.
type keptProfile struct {
	Time    time.Time
	Seconds float64
	Cores   float64    // busy on average
	Routes  []cpuShare // the largest first
	jobs    []cpuShare // of what belongs to no route
	data    []byte
}

type cpuShare struct {
	Route string
	Share float64
}

// newProfiler makes a profiler that pushes to push, nil for nowhere.
func newProfiler(t *Telemetry, push *pyroscope) *profiler {
	p := &profiler{t: t, every: t.config.ProfileEvery, cpu: t.metrics.counter(routeCPU), push: push, turn: make(chan struct{}, 1)}
	p.costs = costs{counted: t.metrics.counter(profilerCPU), budget: t.config.Profiles.Budget, cpus: func() float64 { return cpusOf(t.sampler) }}
	if push != nil {
		p.deltas = newDeltas(t.config.Profiles.Leaks)
	}
	return p
}

// begin turns on the profiles of locks, unless the program has, and of waiting,
// whose rate cannot be asked for, and takes CPU profiles until end.
func (p *profiler) begin() (end func(context.Context) error) {
	ownMutex := runtime.SetMutexProfileFraction(-1) != 0
	if !ownMutex {
		runtime.SetMutexProfileFraction(mutexFraction)
	}
	runtime.SetBlockProfileRate(blockNanos)
	stop := inBackground(p.run)
	return func(ctx context.Context) error {
		if !ownMutex && runtime.SetMutexProfileFraction(-1) == mutexFraction {
			runtime.SetMutexProfileFraction(0)
		}
		runtime.SetBlockProfileRate(0)
		return stop(ctx)
	}
}

// yield ends the profile that is being taken, if one is, and lets none be taken
// until resume: somebody asks for one, and there is one at a time. Its samples
// carry the route, too.
func (p *profiler) yield() (resume func()) {
	for {
		if stop := p.stop.Load(); stop != nil {
			(*stop)()
		}
		select {
		case p.turn <- struct{}{}:
			stop := p.t.server.watch()
			return func() { stop(); <-p.turn }
		case <-time.After(100 * time.Millisecond): // it had its turn, and not yet a stop
		}
	}
}

// window returns how long the next profile is to be, and how long after it the
// one after begins, if it costs no more than it may.
func (p *profiler) window() (length, pause time.Duration) {
	length, kept := min(profileFor, p.every/2), p.every-min(profileFor, p.every/2)
	switch {
	case p.push == nil:
		// Replicas that were started together do not profile together.
		return length, time.Duration(float64(kept) * (0.9 + 0.2*rand.Float64()))
	case p.small():
		return min(length, pushEvery), max(kept, pushEvery)
	default:
		return pushEvery, 0
	}
}

// small tells whether memory is so short that profiles are to be few and short.
func (p *profiler) small() bool {
	d, ok := p.t.sampler.Latest()
	return ok && d.Headroom.By != "host" && d.Headroom.Limit < smallMemory
}

// run takes profiles until ctx ends, which is the end of the last one, too.
func (p *profiler) run(ctx context.Context) {
	first := min(firstProfile, p.every)
	if p.push != nil {
		first = 0
		p.deltas.collect(&p.costs, false) // what was before is nobody's
	}
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if p.push != nil {
				p.push.push(p.deltas.jobs(p.push.name, p.deltas.collect(&p.costs, true))...)
			}
			return
		case <-timer.C:
		}
		length, pause := p.window()
		data, err := p.take(ctx, length)
		switch {
		case err == nil:
			pause = max(pause, p.taken(data)-length)
		case p.push != nil && ctx.Err() == nil:
			p.t.warn("profiler", "observe: no CPU profile can be pushed", "err", oneLine(err.Error()))
			pause = length
		}
		if ctx.Err() != nil {
			continue
		}
		if p.push != nil {
			p.push.push(p.deltas.jobs(p.push.name, p.deltas.collect(&p.costs, false))...)
		}
		timer.Reset(pause)
	}
}

// taken reads a profile, keeps it when its time has come, pushes it, and returns
// after how long the next may begin.
func (p *profiler) taken(data cpuData) (next time.Duration) {
	var k keptProfile
	samples, err := 0, error(nil)
	// Its reading is measured; its writing and its samples, which are the
	// runtime's, are estimated.
	cost := (1 + writingCost) * threadCost(func() { k, samples, err = readCPU(data.bytes) })
	cost += time.Duration(samples) * sampleCost
	if err != nil {
		p.t.warn("profiler", "observe: a CPU profile could not be read", "err", oneLine(err.Error()))
	} else {
		p.keep(k)
	}
	if p.push != nil {
		p.push.push(data.job(p.push.name))
	}
	return p.costs.add("cpu", cost)
}

// sample divides the CPU time since the last sample among the routes, by the
// last profile, so that the counters grow evenly. What was used before the first
// one waits for it.
func (p *profiler) sample(d runtimemetrics.Delta) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if used := (d.CPUUser + d.CPUSystem) * d.Interval.Seconds(); used > 0 { // false when it is unknown
		p.undivided += used
	}
	if len(p.shares) == 0 {
		return
	}
	if p.divided == nil {
		p.divided = map[string]float64{}
	}
	for _, r := range p.shares {
		c, exact := p.cpu.with(r.Route)
		c.Add(r.Share * p.undivided)
		if !exact {
			r.Route = other
		}
		p.divided[r.Route] += r.Share * p.undivided
	}
	p.undivided = 0
}

// used copies what sample has divided into to, unless that is nil: the CPU
// seconds of each path since the start, noRoute among them. Without any it says why.
func (p *profiler) used(to map[string]float64) (why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to != nil {
		maps.Copy(to, p.divided)
	}
	switch {
	case p.divided != nil:
		return ""
	case p.every < 0:
		return "no CPU profiles are taken: Config.ProfileEvery is negative"
	case p.last.Time.IsZero():
		return "no CPU profile has been taken yet"
	default:
		return "no CPU profile has caught anything yet: the service has little to do"
	}
}

// cpuData is a CPU profile as the runtime wrote it.
type cpuData struct {
	bytes    []byte
	from, to time.Time
}

var errProfiling = errors.New("somebody else takes a CPU profile of this process")

// take profiles for a while, or until somebody else wants to.
func (p *profiler) take(ctx context.Context, d time.Duration) (cpuData, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return cpuData{}, ctx.Err()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p.stop.Store(&stop)
	defer p.stop.Store(nil)
	var data bytes.Buffer
	defer p.t.server.watch()()
	from := time.Now()
	if pprof.StartCPUProfile(&data) != nil {
		return cpuData{}, errProfiling
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	to := time.Now()
	pprof.StopCPUProfile()
	return cpuData{data.Bytes(), from, to}, nil
}

// readCPU reads a CPU profile and tells how many samples it has.
func readCPU(data []byte) (k keptProfile, samples int, err error) {
	read, err := profile.ParseData(data)
	if err != nil {
		return k, 0, err
	}
	value := slices.IndexFunc(read.SampleType, func(t *profile.ValueType) bool { return t.Type == "cpu" })
	if value < 0 {
		return k, 0, fmt.Errorf("no cpu among the sample types")
	}
	byRoute, byJob, total := map[string]float64{}, map[string]float64{}, 0.0
	for _, s := range read.Sample {
		route := noRoute
		if l := s.Label[routeLabel]; len(l) > 0 {
			route = l[0]
		} else if l := s.Label[jobLabel]; len(l) > 0 {
			byJob[l[0]] += float64(s.Value[value])
		}
		byRoute[route] += float64(s.Value[value])
		total += float64(s.Value[value])
	}
	k = keptProfile{Time: time.Unix(0, read.TimeNanos), Seconds: float64(read.DurationNanos) / 1e9, data: data}
	if total == 0 {
		return k, 0, nil
	}
	if k.Seconds > 0 {
		k.Cores = total / 1e9 / k.Seconds
	}
	for _, route := range slices.Sorted(maps.Keys(byRoute)) {
		k.Routes = append(k.Routes, cpuShare{route, byRoute[route] / total})
	}
	for job, n := range byJob {
		k.jobs = append(k.jobs, cpuShare{job, n / total})
	}
	slices.SortStableFunc(k.Routes, func(a, b cpuShare) int { return cmp.Compare(b.Share, a.Share) })
	return k, int(total / float64(max(read.Period, 1))), nil
}

// keep puts a profile among the last ones, of which there is one for each
// interval. One without samples, of a service that had nothing to do, tells
// nothing and is not kept.
func (p *profiler) keep(k keptProfile) {
	p.mu.Lock()
	p.last = k
	p.mu.Unlock()
	if len(k.Routes) == 0 {
		return
	}
	most := profilesKept
	if p.small() {
		most = profilesKept / 2
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cutShort(k) {
		p.shares = k.Routes
	}
	if n := len(p.kept); p.push != nil && n > 0 && k.Time.Sub(p.kept[n-1].Time) < p.every-pushEvery/2 {
		return
	}
	p.kept = append(p.kept, k)
	p.kept = slices.Delete(p.kept, 0, max(0, len(p.kept)-most))
}

// cutShort tells whether a profile gave way to somebody else's, a capture's
// perhaps, before it had a fifth of its time: a few samples are nothing to divide
// the CPU of minutes by.
func (p *profiler) cutShort(k keptProfile) bool {
	return k.Seconds > 0 && k.Seconds < min(profileFor, p.every/2).Seconds()/5
}

// list returns the kept profiles, the newest first.
func (p *profiler) list() []keptProfile {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := slices.Clone(p.kept)
	slices.Reverse(kept)
	return kept
}

// serve lists the profiles of the last minutes, or serves one.
func (p *profiler) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if p.every < 0 {
		http.Error(w, "no profiles are kept: Config.ProfileEvery is negative", http.StatusNotFound)
		return
	}
	kept := p.list()
	if at := r.PathValue("at"); at != "" {
		for _, k := range kept {
			if strconv.FormatInt(k.Time.UnixMilli(), 10) == at {
				attachment(w, "cpu-"+at+".pprof")
				w.Write(k.data)
				return
			}
		}
		http.Error(w, "no such profile; see /debug/profiles", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if len(kept) == 0 {
		fmt.Fprintf(w, "no profiles yet: one of %v is taken every %v\n", min(profileFor, p.every/2), p.every)
	}
	if p.push != nil {
		fmt.Fprintf(w, "the CPU is profiled all the time and pushed to %s\n", p.push.host())
	}
	for _, k := range kept {
		fmt.Fprintf(w, "%s  %.1f s, %.2f cores busy   /debug/profiles/%d\n", k.Time.UTC().Format(time.DateTime), k.Seconds, k.Cores, k.Time.UnixMilli())
		for _, s := range k.Routes[:min(len(k.Routes), 10)] {
			fmt.Fprintf(w, "  %5.1f %%  %s\n", 100*s.Share, oneLine(s.Route))
		}
	}
}

// cores returns the cores that each route used by the last profile, nil where
// that ended before a time.
func (p *profiler) cores(after time.Time) map[string]float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.last
	if k.Time.IsZero() || k.Time.Add(seconds(k.Seconds)).Before(after) {
		return nil
	}
	cores := make(map[string]float64, len(k.Routes))
	for _, r := range k.Routes {
		cores[r.Route] = r.Share * k.Cores
	}
	for _, j := range k.jobs {
		cores[jobPrefix+j.Route] = j.Share * k.Cores
	}
	return cores
}

// jobPrefix tells jobs from routes, which begin with a slash, or nearly so.
const jobPrefix = "job "
