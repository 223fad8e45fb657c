package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/loadline-go/loadline/observe/console"
	"github.com/loadline-go/loadline/runtimemetrics"
)

// maxOwnSeries bounds the program's series that the console draws; all are in /metrics.
const maxOwnSeries = 100

// consoleFeed reads what the console shows. Only the sampler's goroutine uses it.
type consoleFeed struct {
	t      *Telemetry
	keep   time.Duration
	byName map[string]*fedRoute
	cells  []uint64
	used   map[string]float64 // CPU seconds since the start, by path
	fed    map[string]float64 // those that the console was told of
}

// fedRoute is one route and method. Two patterns may stand for one name.
type fedRoute struct {
	path    string
	series  []*serverSeries // the slice is used again
	seconds float64         // of its requests, since the start
	grown   float64         // since the last sample
	cpu     float64
}

func newConsole(t *Telemetry) (*console.Console, *consoleFeed) {
	keep := t.config.ConsoleKeep
	if keep < 0 {
		return nil, nil
	}
	c := console.New(console.Config{Service: t.config.Service, Version: t.config.Version, Started: t.started, Keep: keep, State: t.consoleState})
	return c, &consoleFeed{
		t: t, keep: keep, byName: map[string]*fedRoute{}, used: map[string]float64{}, fed: map[string]float64{},
		cells: make([]uint64, 1+(secondsScale.high-secondsScale.low)*perOctave),
	}
}

// sample feeds the console, when it is time for that.
func (f *consoleFeed) sample(d runtimemetrics.Delta) {
	if f == nil || !f.t.console.Due(d.Time) {
		return
	}
	if step := f.keep / 180; d.Interval < step {
		// What happened since the last point, not in the last of several samples alone.
		if longer, ok := f.t.sampler.Last(step * 9 / 10); ok {
			d = longer
		}
	}
	f.read()
	cpu := math.NaN()
	if f.t.profiler.used(f.used) == "" {
		cpu = 0
		for _, seconds := range f.used {
			cpu += seconds
		}
		f.divide()
	}
	f.t.console.Sample(console.Sample{Runtime: d, InFlight: float64(f.t.server.running()), Routes: f.routes, CPU: cpu, Own: f.t.metrics.ownSeries(maxOwnSeries)})
}

// read finds the series of each route and method.
func (f *consoleFeed) read() {
	known := f.t.server.routes.read.Load()
	if known == nil {
		return
	}
	for _, r := range f.byName {
		r.series = r.series[:0]
	}
	for _, r := range *known {
		all := r.known.Load()
		if all == nil {
			continue
		}
		var at *fedRoute
		method := -1
		for _, k := range *all {
			if method != int(k.key.method) {
				method = int(k.key.method)
				name := methods[method] + " " + k.route
				if at = f.byName[name]; at == nil {
					at = &fedRoute{path: k.route}
					f.byName[name] = at
				}
			}
			at.series = append(at.series, k)
		}
	}
	for _, r := range f.byName {
		sum := 0.0
		for _, k := range r.series {
			sum += k.duration.own.total()
		}
		r.seconds, r.grown = sum, sum-r.seconds
	}
}

// divide gives each route the CPU time that was used since the last sample.
// Profiles tell it by path: those that differ by their method alone share it by
// their time.
func (f *consoleFeed) divide() {
	type sums struct{ grown, seconds float64 }
	by := make(map[string]sums, len(f.byName))
	for _, r := range f.byName {
		s := by[r.path]
		by[r.path] = sums{s.grown + r.grown, s.seconds + r.seconds}
	}
	for _, r := range f.byName {
		cpu := f.used[r.path] - f.fed[r.path]
		switch s := by[r.path]; {
		case s.grown > 0:
			r.cpu += cpu * r.grown / s.grown
		case s.seconds > 0: // what still runs has been counted nowhere yet
			r.cpu += cpu * r.seconds / s.seconds
		}
	}
	for path, s := range by {
		if s.seconds > 0 {
			f.fed[path] = f.used[path]
		}
	}
}

// routes yields what was counted of each route and method.
func (f *consoleFeed) routes(yield func(console.Route) bool) {
	for name, all := range f.byName {
		if len(all.series) == 0 {
			continue
		}
		clear(f.cells)
		r := console.Route{Name: name, Cells: f.cells, CPU: all.cpu}
		for _, k := range all.series {
			n, sum := k.duration.own.addTo(f.cells, nil)
			r.Requests += n
			r.Seconds += sum
			if k.key.status >= 500 {
				r.Errors += n
			}
		}
		if !yield(r) {
			return
		}
	}
}

// consoleState tells what is true now, while a page is open.
func (t *Telemetry) consoleState(ctx context.Context) console.State {
	results, ok := t.health.run(ctx)
	s := console.State{Ready: ok, Draining: t.health.draining.Load()}
	for _, r := range results {
		if r.err != "" {
			s.Failed = append(s.Failed, r.name+": "+r.err)
		}
	}
	if t.leaks != nil {
		if look, ok := t.leaks.last(); ok {
			s.Leaks = len(look.Suspects)
		}
	}
	s.NoCPU = t.profiler.used(nil)
	s.Inside = inside(t.provider.Recent())
	for _, o := range t.slos.states() {
		slo := console.SLO{
			Name: o.Name, Route: o.Route, Objective: o.Objective, Within: o.SLO.Latency.Seconds(),
			Good: o.Good, Bad: o.Bad, Short: o.Short.Rate, Long: o.Long.Rate, Burning: o.burning(),
		}
		if all := o.Good + o.Bad; all > 0 {
			slo.Left = new(1 - float64(o.Bad)/float64(all)/(1-o.Objective))
		}
		s.SLOs = append(s.SLOs, slo)
	}
	if t.captures.store != nil {
		if why, _, armed := t.captures.store.Armed(); armed {
			s.Armed = oneLine(cmp.Or(why, "for good"))
		}
	}
	return s
}

// ownCollector is a metric that the program defined.
type ownCollector struct {
	d Description
	c prometheus.Collector
}

// ownSeries reads the metrics of the program alone: a whole scrape would cost
// as much as one, each few seconds.
func (m *metrics) ownSeries(most int) (all []console.Own) {
	m.mu.Lock()
	own := slices.Clone(m.own)
	m.mu.Unlock()
	for _, o := range own {
		ch := make(chan prometheus.Metric, 64)
		go func() {
			defer close(ch)
			o.c.Collect(ch)
		}()
		for metric := range ch {
			var v dto.Metric
			if len(all) >= most || metric.Write(&v) != nil { // the rest is read, or its sender would wait for ever
				continue
			}
			s := console.Own{Name: o.d.Name, Help: o.d.Help, Unit: o.d.Unit, Rate: o.d.Kind != runtimemetrics.Gauge}
			labels := make([]string, len(v.Label))
			for i, l := range v.Label {
				labels[i] = l.GetName() + "=" + clip(l.GetValue(), 80)
			}
			s.Labels = strings.Join(labels, ", ")
			if h := v.GetHistogram(); h != nil {
				s.Value, s.Sum = float64(h.GetSampleCount()), h.GetSampleSum()
			} else {
				s.Value = v.GetCounter().GetValue() + v.GetGauge().GetValue() // it is one of them
			}
			all = append(all, s)
		}
	}
	return all
}

// register adds what the console needs to the admin pages.
func (t *Telemetry) registerConsole(mux *http.ServeMux, local func(http.Handler) http.Handler) {
	index := http.HandlerFunc(t.index)
	mux.Handle("GET /debug/{$}", local(index))
	mux.Handle("GET /debug/runtime", local(http.HandlerFunc(t.serveRuntime)))
	mux.Handle("GET /debug/requests", local(http.HandlerFunc(t.serveRequests)))
	mux.Handle("GET /debug/config", local(http.HandlerFunc(t.serveConfig)))
	mux.Handle("/debug/loglevel", local(sameOrigin.Handler(http.HandlerFunc(t.serveLogLevel))))
	if t.console == nil {
		mux.Handle("GET /{$}", local(index))
		return
	}
	mux.Handle("GET /debug/console/", local(t.console.Handler()))
	mux.Handle("GET /{$}", local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A browser says that it takes HTML; all others get the page without scripts.
		w.Header().Add("Vary", "Accept")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			t.console.ServePage(w, r)
			return
		}
		t.index(w, r)
	})))
}

// serveRuntime serves the last minutes of the runtime as text.
func (t *Telemetry) serveRuntime(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	t.writeRuntime(r.Context(), w)
}

// serveRequests serves the table of routes: over ?range= seconds as text, or as JSON.
func (t *Telemetry) serveRequests(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if t.console == nil {
		http.Error(w, "nothing is kept: Config.ConsoleKeep is negative", http.StatusNotFound)
		return
	}
	over := 5 * time.Minute
	if s := r.FormValue("range"); s != "" {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !(n > 0 && n <= 1e6) {
			http.Error(w, "range: want seconds above 0", http.StatusBadRequest)
			return
		}
		over = seconds(n)
	}
	if wantsJSON(r) {
		r2 := r.Clone(r.Context())
		r2.URL.Path = "/debug/console/data"
		t.console.Handler().ServeHTTP(w, r2)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	t.console.WriteRequests(w, over)
}

// serveConfig serves the effective configuration, as text or JSON.
func (t *Telemetry) serveConfig(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	report := t.conditions(r.Context())
	if wantsJSON(r) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(report)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	report.write(w)
}

// serveLogLevel tells the level of the logs, and sets it by POST.
func (t *Telemetry) serveLogLevel(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
		if !t.logLevel.used.Load() {
			http.Error(w, "the program logs without Telemetry.LogHandler", http.StatusConflict)
			return
		}
		if err := t.logLevel.parse(r.FormValue("level")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		t.config.Logger.Info("observe: the log level was changed at the admin address", "level", t.logLevel.String())
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, t.logLevel.String()+"\n")
}
