package observe

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/loadline-go/loadline/internal/span"
)

const (
	// A client that stops reading is cut off; Prometheus' own limit is 10 s.
	adminWriteTimeout = 30 * time.Second
	// Scrapes that are rendered at once, beyond which a scraper gets 503, and as
	// many that are sent: each holds a copy of all series.
	maxScrapes = 4
)

// Admin returns the handler of the admin address: the console, /metrics, /livez,
// /readyz and the pages under /debug/. Everything but /metrics, /livez and
// /readyz shows the inside of the process, so it is answered only to clients on
// this machine that did not come through a proxy, and to those that have
// Config.AdminToken; mount it elsewhere with care. A
// nil Telemetry answers 404 to everything.
//
// Nothing of this is on http.DefaultServeMux. Dependencies put pages of their
// own there when they are imported: client_golang expvar's /debug/vars, grpc
// /debug/requests and /debug/events (not when built with -tags grpcnotrace).
// Who serves that mux to strangers serves these.
func (t *Telemetry) Admin() http.Handler {
	if t == nil {
		return http.NotFoundHandler()
	}
	return t.admin
}

// sameOrigin keeps pages of other sites from changing anything here.
var sameOrigin = http.NewCrossOriginProtection()

type page struct{ Path, About string }

func (t *Telemetry) adminMux() http.Handler {
	profiles := newProfiles(t.profiler)
	scrape := promhttp.HandlerFor(t.gatherer, promhttp.HandlerOpts{
		ErrorLog:            scrapeLog{t},
		ErrorHandling:       promhttp.ContinueOnError, // one bad metric must not hide the others
		MaxRequestsInFlight: maxScrapes,
		EnableOpenMetrics:   true,
	})
	local := t.guard.private
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", &scrapes{next: scrape, cut: func() {
		t.losses.add("metrics", "scraper_stalled", 1)
		t.warn("scraper", "observe: metrics: a client that did not read its scrape was cut off for another one")
	}})
	mux.HandleFunc("GET /livez", serveLive)
	mux.HandleFunc("GET /readyz", t.health.serveReady)
	mux.HandleFunc("GET /readyz/{name}", t.health.serveReady)
	if t.guard.hasOne {
		mux.Handle("GET /login", t.guard.serveLogin(t.config.Service))
		mux.Handle("POST /login", sameOrigin.Handler(t.guard.serveLogin(t.config.Service)))
	}
	t.registerConsole(mux, local)
	mux.Handle("GET /debug/metrics/table", local(http.HandlerFunc(t.serveMetricTable)))
	mux.Handle("GET /debug/traces", local(http.HandlerFunc(t.traces)))
	mux.Handle("GET /debug/profiles", local(http.HandlerFunc(t.profiler.serve)))
	mux.Handle("GET /debug/profiles/{at}", local(http.HandlerFunc(t.profiler.serve)))
	mux.Handle("/debug/captures", local(sameOrigin.Handler(http.HandlerFunc(t.captures.serve))))
	mux.Handle("GET /debug/captures/{name...}", local(http.HandlerFunc(t.captures.serveFile)))
	mux.Handle("GET /debug/doctor", local(http.HandlerFunc(t.serveDoctor)))
	mux.Handle("GET /debug/leaks", local(http.HandlerFunc(t.serveLeaks)))
	mux.Handle("/debug/leaks/proof", local(sameOrigin.Handler(&proof{profiles: profiles})))
	mux.Handle("GET /debug/pprof/{$}", local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		render(w, "profiles", pageData{Title: "Profiles of " + t.config.Service, Pages: profiles.names()})
	})))
	mux.Handle("GET /debug/pprof/{profile}", local(profiles))
	flames := local(&flamegraphs{t: t, profiles: profiles})
	mux.Handle("GET /debug/pprof/ui", flames)
	mux.Handle("GET /debug/pprof/ui/{file}", flames)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(adminWriteTimeout))
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		mux.ServeHTTP(w, r)
	})
}

type scrapeLog struct{ t *Telemetry }

func (l scrapeLog) Println(v ...any) {
	l.t.warn("scrape", "observe: metrics: part of a scrape failed", "err", oneLine(fmt.Sprintln(v...)))
}

type pageData struct {
	Title   string
	Facts   []page
	Pages   []page
	Routes  []routeRow
	Own     []ownRow // defined by the program
	Metrics []Description
	Wrong   bool // the token
}

func (t *Telemetry) index(w http.ResponseWriter, r *http.Request) {
	ready := "ready"
	if _, ok := t.health.run(r.Context()); !ok {
		ready = "not ready, see /readyz"
	}
	facts := []page{
		{"Version", t.config.Version},
		{"Up for", time.Since(t.started).Round(time.Second).String()},
		{"State", ready},
		{"Go", runtime.Version()},
	}
	if d, ok := t.sampler.Latest(); ok {
		facts = append(facts,
			page{"Scheduler latency", fmt.Sprintf("p50 %s, p99 %s over the last %v", span.Short(d.SchedP50), span.Short(d.SchedP99), d.Interval.Round(time.Second))},
			page{"Goroutines", fmt.Sprintf("%.0f", d.Now.Goroutines.Total)},
			page{"Memory", fmt.Sprintf("%.1f MiB held by Go", d.Now.Memory.Used/(1<<20))},
		)
		if live := d.Now.Memory.HeapLive; live > 0 { // known from the first collection on
			facts = append(facts, page{"Live heap", fmt.Sprintf("%.1f MiB", live/(1<<20))})
		}
	}
	for _, o := range t.slos.states() {
		facts = append(facts, page{"Objective", o.String()})
	}
	render(w, "index", pageData{
		Title: t.config.Service,
		Facts: facts,
		Pages: []page{
			{"/metrics", "metrics for Prometheus: text, OpenMetrics with exemplars, protobuf with native histograms"},
			{"/livez", "alive: the process answers"},
			{"/readyz", "ready: one line a check"},
			{"/debug/metrics/table", "what the metrics mean, as JSON: go run ./dashboards/generate -table makes a page of the program's own"},
			{"/debug/requests", "routes in the last minutes: rate, errors, quantiles, where their time goes; ?range= in seconds"},
			{"/debug/runtime", "the runtime in the last minutes"},
			{"/debug/config", "the configuration, where each value came from, whether the backends answer"},
			{"/debug/loglevel", "the level of the logs; POST level=debug sets it"},
			{"/debug/doctor", "what is the matter: the runtime, one route, or somebody else; with the proof"},
			{"/debug/traces", "the slowest and the last failed requests of each route, as waterfalls"},
			{"/debug/captures", "evidence of bad moments: flight recordings, profiles, traces; POST makes one"},
			{"/debug/leaks", "what only grows: goroutines, heap, descriptors; and what could not be looked at"},
			{"/debug/profiles", "CPU by route in the last minutes, with the profiles"},
			{"/debug/pprof/", "profiles and execution traces"},
			{"/debug/pprof/ui", "flame graphs"},
		},
		Routes:  t.server.table(),
		Own:     t.ownRows(),
		Metrics: All(),
	})
}

func render(w http.ResponseWriter, name string, data pageData) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	pages.ExecuteTemplate(w, name, data)
}

var pages = template.Must(template.New("").Parse(`
{{define "head"}}<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .25rem 1rem .25rem 0; vertical-align: top; border-bottom: 1px solid #8884 }
.number { text-align: right; white-space: nowrap } td:first-child { white-space: nowrap }
code { font-size: .9em }
@media (max-width: 40rem) { table { display: block; overflow-x: auto } }
</style>{{end}}
{{define "list"}}<table>{{range .}}<tr><td><a href="{{.Path}}"><code>{{.Path}}</code></a><td>{{.About}}{{end}}</table>{{end}}
{{define "index"}}{{template "head" .}}
<h1>{{.Title}}</h1>
<table>{{range .Facts}}<tr><th>{{.Path}}<td>{{.About}}{{end}}</table>
{{if .Routes}}<h2>Requests since the start, most time first</h2>
<table><tr><th>Route<th class="number">Requests<th class="number">Errors<th class="number">p50<th class="number">p95<th class="number">p99
{{range .Routes}}<tr><td><code>{{.Route}}</code><td class="number">{{.Requests}}<td class="number">{{.Errors}}<td class="number">{{.P50}}<td class="number">{{.P95}}<td class="number">{{.P99}}{{end}}</table>{{end}}
<h2>Pages</h2>
{{template "list" .Pages}}
{{if .Own}}<h2>Metrics of this program</h2>
<table><tr><th>Name<th>Meaning<th>Now{{range .Own}}<tr><td><code>{{.Name}}</code><td>{{.Help}}<td>{{.Now}}{{end}}</table>{{end}}
<h2>Metrics</h2>
{{template "metrics" .Metrics}}
{{end}}
{{define "login"}}{{template "head" .}}
<h1>{{.Title}}</h1>
<form method="post" action="/login"><p><label>Token <input type="password" name="token" autocomplete="current-password" required autofocus></label> <button>Enter</button></form>
{{if .Wrong}}<p role="alert">That is not the token.{{end}}
<p>It is Config.AdminToken, or OBSERVE_ADMIN_TOKEN of the process.
{{end}}
{{define "metrics"}}<table><tr><th>Name<th>Meaning{{range .}}<tr><td><code>{{.Name}}</code><td>{{.Help}}{{end}}</table>{{end}}
{{define "profiles"}}{{template "head" .}}
<h1>{{.Title}}</h1>
<p><a href="/">Back</a></p>
{{template "list" .Pages}}
{{end}}
`))

// listenAdmin opens the admin address. The default address gives way to a free
// port when it is taken; one that was asked for does not.
func listenAdmin(c Config) (net.Listener, error) {
	l, err := net.Listen("tcp", c.AdminAddr)
	switch {
	case err == nil:
		return l, nil
	case c.adminFrom == "Config.AdminAddr":
		return nil, fmt.Errorf("%s: %w; choose another, or observe.Off", c.adminFrom, listenError(c.AdminAddr, err))
	case c.adminFrom != "":
		return nil, fmt.Errorf("%s: %w; choose another", c.adminFrom, listenError(c.AdminAddr, err))
	}
	l, second := net.Listen("tcp", net.JoinHostPort(defaultAdminHost, "0"))
	if second != nil {
		return nil, fmt.Errorf("Config.AdminAddr: %w; choose another, or observe.Off", listenError(c.AdminAddr, err))
	}
	c.Logger.Warn("observe: the default admin address is taken; using a free port", "wanted", c.AdminAddr, "admin", l.Addr().String())
	return l, nil
}

// listenError says what was tried, once: net.OpError repeats the resolved address.
func listenError(addr string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return fmt.Errorf("listen %s: %w", addr, err)
}

// serveAdmin serves on l and returns how to end that.
func (t *Telemetry) serveAdmin(l net.Listener) func(context.Context) error {
	requests, cut := context.WithCancel(context.Background())
	srv := &http.Server{
		Handler:           t.admin,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(t.config.Logger.Handler(), slog.LevelDebug), // scanners and broken clients are not news
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.warn("admin", "observe: admin: no longer serving", "addr", l.Addr().String(), "err", err)
		}
	}()
	return func(ctx context.Context) error {
		cut() // a profile under way ends with what it has
		if err := srv.Shutdown(ctx); err != nil {
			srv.Close() // a page that nobody reads is no loss of telemetry
		}
		<-served
		return nil
	}
}

func programName() string { return filepath.Base(os.Args[0]) }
