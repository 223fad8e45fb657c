package observe

import (
	"bytes"
	"cmp"
	"context"
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
)

// profiler takes a CPU profile of its own process now and then, keeps the last
// ones and counts CPU time by route.
type profiler struct {
	t     *Telemetry
	every time.Duration
	cpu   *vec[prometheus.Counter]

	turn chan struct{}                      // holds one: whoever runs the process's CPU profiler
	stop atomic.Pointer[context.CancelFunc] // ends the profile that run takes

	mu        sync.Mutex
	kept      []keptProfile // the newest last
	undivided float64       // CPU seconds of no route yet
}

// keptProfile is one CPU profile in memory, some 10 to 100 kB.
type keptProfile struct {
	Time    time.Time
	Seconds float64
	Cores   float64    // busy on average
	Routes  []cpuShare // the largest first
	data    []byte
}

type cpuShare struct {
	Route string
	Share float64
}

func newProfiler(t *Telemetry) *profiler {
	return &profiler{t: t, every: t.config.ProfileEvery, cpu: t.metrics.counter(routeCPU), turn: make(chan struct{}, 1)}
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
// until resume: somebody asks for one, and there is one at a time.
func (p *profiler) yield() (resume func()) {
	for {
		if stop := p.stop.Load(); stop != nil {
			(*stop)()
		}
		select {
		case p.turn <- struct{}{}:
			return func() { <-p.turn }
		case <-time.After(100 * time.Millisecond): // it had its turn, and not yet a stop
		}
	}
}

// run takes profiles until ctx ends.
func (p *profiler) run(ctx context.Context) {
	timer := time.NewTimer(min(firstProfile, p.every))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if data, ok := p.take(ctx); ok {
			if err := p.keep(data); err != nil {
				p.t.warn("profiler", "observe: a CPU profile could not be read", "err", oneLine(err.Error()))
			}
		}
		// Replicas that were started together do not profile together.
		timer.Reset(time.Duration(float64(p.every-min(profileFor, p.every/2)) * (0.9 + 0.2*rand.Float64())))
	}
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
	if len(p.kept) == 0 {
		return
	}
	for _, r := range p.kept[len(p.kept)-1].Routes {
		c, _ := p.cpu.with(r.Route)
		c.Add(r.Share * p.undivided)
	}
	p.undivided = 0
}

// take profiles for a while, unless somebody else does already.
func (p *profiler) take(ctx context.Context) ([]byte, bool) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, false
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p.stop.Store(&stop)
	defer p.stop.Store(nil)
	var data bytes.Buffer
	p.t.server.profiling.Store(true)
	defer p.t.server.profiling.Store(false)
	if pprof.StartCPUProfile(&data) != nil {
		return nil, false
	}
	timer := time.NewTimer(min(profileFor, p.every/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	pprof.StopCPUProfile()
	return data.Bytes(), true
}

// keep reads a profile and puts it among the last ones. One without samples,
// of a service that had nothing to do, tells nothing and is not kept.
func (p *profiler) keep(data []byte) error {
	read, err := profile.ParseData(data)
	if err != nil {
		return err
	}
	value := slices.IndexFunc(read.SampleType, func(t *profile.ValueType) bool { return t.Type == "cpu" })
	if value < 0 {
		return fmt.Errorf("no cpu among the sample types")
	}
	byRoute, total := map[string]float64{}, 0.0
	for _, s := range read.Sample {
		route := noRoute
		if l := s.Label[routeLabel]; len(l) > 0 {
			route = l[0]
		}
		byRoute[route] += float64(s.Value[value])
		total += float64(s.Value[value])
	}
	if total == 0 {
		return nil
	}
	k := keptProfile{Time: time.Unix(0, read.TimeNanos), Seconds: float64(read.DurationNanos) / 1e9, data: data}
	if k.Seconds > 0 {
		k.Cores = total / 1e9 / k.Seconds
	}
	for _, route := range slices.Sorted(maps.Keys(byRoute)) {
		k.Routes = append(k.Routes, cpuShare{route, byRoute[route] / total})
	}
	slices.SortStableFunc(k.Routes, func(a, b cpuShare) int { return cmp.Compare(b.Share, a.Share) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept = append(p.kept, k); len(p.kept) > profilesKept {
		p.kept = slices.Delete(p.kept, 0, 1)
	}
	return nil
}

const routeLabel = "route"

// label gives the goroutine the label of a pattern's route while a profile is
// taken, beside those of ctx, and what it starts inherits it. It returns a context with the same.
func (s *server) label(ctx context.Context, pattern string) context.Context {
	if !s.profiling.Load() {
		return ctx
	}
	r := s.route(pattern)
	r.labelled.Do(func() { r.labels = pprof.Labels(routeLabel, r.name) })
	ctx = pprof.WithLabels(ctx, r.labels)
	pprof.SetGoroutineLabels(ctx)
	return ctx
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
	for _, k := range kept {
		fmt.Fprintf(w, "%s  %.1f s, %.2f cores busy   /debug/profiles/%d\n", k.Time.UTC().Format(time.DateTime), k.Seconds, k.Cores, k.Time.UnixMilli())
		for _, s := range k.Routes[:min(len(k.Routes), 10)] {
			fmt.Fprintf(w, "  %5.1f %%  %s\n", 100*s.Share, oneLine(s.Route))
		}
	}
}
