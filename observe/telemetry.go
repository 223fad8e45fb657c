package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/observe/console"
	"github.com/loadline-go/loadline/runtimemetrics"
	"github.com/loadline-go/loadline/tracing"
)

// Telemetry is the observation of one running service. A nil Telemetry is off:
// every method works and does nothing. Its methods may be called concurrently.
type Telemetry struct {
	config   Config
	started  time.Time
	provider *tracing.Provider
	scope    *span.Scope
	metrics  *metrics
	gatherer prometheus.Gatherer
	sampler  *runtimemetrics.Sampler
	leaks    *leaks // nil: off
	peers    peers
	health   *health
	admin    http.Handler
	guard    *guard
	console  *console.Console // nil: off
	feed     *consoleFeed
	logLevel logLevel
	asked    Config // as the program wrote it
	address  string

	server       *server
	slos         *slos // nil: none
	listeners    *listeners
	client       *client
	databases    *databases
	calls        *calls
	dependencies *dependencies
	parties      parties
	pools        *pools
	jobs         *jobs
	sources      *sources
	queues       *queues
	caches       *caches
	streams      *streams
	logCounts    *logCounts
	logExport    *logExport // nil: not asked for
	traceLogs    *traceLogs // nil: the console is off
	flushMetrics func(context.Context) error
	captures     *captures
	profiler     *profiler
	secrets      map[string]bool
	losses       *losses
	diagnoses    *diagnoses
	sites        *sites
	quiet        onceAMinute

	undo   []step // in the order of starting
	ending atomic.Bool
	done   chan struct{} // closed when ended is set
	ended  error
}

// running is the Telemetry of this process. There is one at most, because the
// OpenTelemetry globals are the process's too.
var running atomic.Pointer[Telemetry]

// Start begins to observe the service. It sets the OpenTelemetry globals
// (tracer and meter provider, propagator, error handler, and the logger, which
// cannot be put back and stays), starts sampling the runtime and watching for leaks, and opens the admin address. A Config that cannot work is told in
// one error, a line for each field, and nothing is started; a Start that fails
// undoes what it began. There is one Telemetry a process: a second Start
// before Shutdown is an error.
//
// Start does not stop when ctx ends; Shutdown ends what it began. After Start
// nothing returns errors: what is lost is counted in observe_dropped_total.
func Start(ctx context.Context, config Config) (_ *Telemetry, err error) {
	asked := config
	config, wrong := config.withDefaults()
	t := &Telemetry{config: config, asked: asked, started: time.Now(), done: make(chan struct{})}
	if !running.CompareAndSwap(nil, t) {
		return nil, fmt.Errorf("observe: Start: this process is already observed as %q; Shutdown that one first", running.Load().name())
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("observe: Start: %w", err)
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(config.ShutdownTimeout, time.Second))
			defer cancel()
			t.end(undo) // what was begun can hold nothing yet that could be lost
		}
	}()

	// Logs and metrics begin before traces, to end after them: the last ones
	// tell what spans were lost at the end.
	logs, third := &logExport{}, &thirdParty{}
	if wrong == nil {
		otel.SetLogger(logr.New(&internalLog{logger: config.Logger}))
	}
	t.begun("logs", logs.end)
	logs.next, err = logExporter(ctx)
	wrong = errors.Join(wrong, err)
	t.begun("metrics", third.shutdown)
	third.push, err = metricExporter(ctx)
	wrong = errors.Join(wrong, err)
	traces := config.Tracing
	if wrong != nil { // the caller's own are not begun, and so not shut down
		traces.Exporter, traces.Processors = nil, nil
	}
	t.provider, err = tracing.NewProvider(ctx, traces)
	t.begun("traces", t.provider.Shutdown)
	if wrong = errors.Join(wrong, err); wrong != nil {
		return nil, distinct(wrong)
	}
	t.metrics = newMetrics(config.MaxSeries, config.Buckets, config.Logger)
	t.losses = newLosses(t.provider)
	t.scope = t.provider.Scope(scopeName)
	if err := third.begin(t); err != nil {
		return nil, err
	}
	t.flushMetrics = third.provider.ForceFlush
	if logs.next != nil {
		logs.begin(t)
	}
	t.secrets = make(map[string]bool, len(config.Redact))
	for _, key := range config.Redact {
		t.secrets[strings.ToLower(key)] = true
	}

	t.parties.max = config.MaxSeries
	t.health = newHealth(t.metrics)
	t.server = newServer(t)
	t.listeners = newListeners(t.metrics)
	t.client = newClient(t)
	t.begun("connections", t.client.closeIdle)
	t.calls = &calls{duration: t.metrics.histogram(dependencyDuration), parties: &t.parties}
	t.databases = newDatabases(t.metrics)
	t.dependencies = newDependencies(t)
	t.provider.OnEnd(t.dependencies.ended)
	t.provider.OnWait(waitOf)
	t.provider.OnStart(t.dependencies.served.began)
	t.captures = newCaptures(t)
	push := newPyroscope(t)
	t.profiler = newProfiler(t, push)
	t.provider.OnSlow(t.captures.slow)
	if config.RepeatedQueries > 0 {
		t.provider.Crowd(config.RepeatedQueries, t.repeats)
	}
	t.pools = newPools(t.metrics)
	t.jobs = newJobs(t)
	t.sources, t.queues, t.caches, t.streams = newSources(t), newQueues(t), newCaches(t), newStreams(t)
	t.logCounts = newLogCounts(t.metrics)
	if config.ConsoleKeep > 0 {
		t.traceLogs = new(traceLogs)
		t.provider.OnRecent(t.traceLogs.of)
	}
	t.sampler = &runtimemetrics.Sampler{Interval: config.Interval, MemoryLimitShare: config.MemoryLimitShare, OnSample: t.sampled}
	build, _ := t.metrics.gauge(buildInfo).with(config.Service, config.Version, runtime.Version())
	build.Set(1)
	t.metrics.registry.MustRegister(
		&runtimemetrics.Collector{Sampler: t.sampler}, t.pools, t.losses, newAccounts(t.provider),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)

	if s := (&saturation{limits: config.Saturation, sampler: t.sampler}); s.limits.any() {
		t.Check(Check{Name: "saturation", Probe: s.probe})
	}
	if !config.NoLeaks {
		t.leaks = newLeaks(t)
		t.metrics.registry.MustRegister(t.leaks)
	}

	t.guard = newGuard(config)
	t.diagnoses, t.sites = newDiagnoses(t), &sites{t: t}
	t.console, t.feed = newConsole(t)
	t.admin = t.adminMux()
	if config.AdminAddr != Off {
		l, err := listenAdmin(config)
		if err != nil {
			return nil, err
		}
		t.address = l.Addr().String()
		t.begun("admin", t.serveAdmin(l))
	}

	if err := t.captures.begin(); err != nil {
		return nil, err
	}
	if config.ProfileEvery > 0 {
		if push != nil {
			t.begun("profiles", push.begin())
		}
		t.begun("profiler", t.profiler.begin())
	}

	t.begun("queues and caches", t.sources.end)
	t.begun("sampler", inBackground(t.sampler.Run))
	if config.DiagnoseEvery > 0 {
		t.begun("doctor", inBackground(t.diagnoses.run))
	}
	if t.leaks != nil {
		t.begun("leak watch", t.leaks.start())
	}

	t.setGlobals(third)
	return t, nil
}

const scopeName = "github.com/loadline-go/loadline/observe"

// name is what tells one Telemetry from another in an error.
func (t *Telemetry) name() string {
	if t == nil { // it ended meanwhile
		return ""
	}
	return t.config.Service
}

// A step is one thing that was begun, with what ends it.
type step struct {
	name string
	end  func(context.Context) error
}

// begun notes how to end what was just begun.
func (t *Telemetry) begun(name string, end func(context.Context) error) {
	t.undo = append(t.undo, step{name, end})
}

// sampled is told of each sample of the runtime.
func (t *Telemetry) sampled(d runtimemetrics.Delta) {
	t.slos.sample(time.Now())
	t.captures.sample(d)
	t.profiler.sample(d)
	t.feed.sample(d)
}

// inBackground runs f, which ends when its context does, and returns what ends it.
func inBackground(f func(context.Context)) (end func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func(context.Context) error { stop(); <-done; return nil }
}

// end ends all that was begun, the last first, so that spans and metrics of the
// end itself are still sent. Each step gets an equal share of the time left.
func (t *Telemetry) end(ctx context.Context) error {
	var errs []error
	for i := len(t.undo) - 1; i >= 0; i-- {
		errs = append(errs, t.undo[i].run(ctx, i+1))
	}
	t.undo = nil
	running.CompareAndSwap(t, nil)
	return errors.Join(errs...)
}

// run ends one of the steps that are left within its share of the time. One
// that does not heed its context, a program's own exporter perhaps, is left behind.
func (s step) run(ctx context.Context, left int) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return s.end(ctx)
	}
	share := time.Until(deadline) / time.Duration(left)
	telling := min(share/4, 500*time.Millisecond) // what could not be sent is to be counted and told, too
	ctx, cancel := context.WithTimeout(ctx, share-telling)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.end(ctx) }()
	late := time.NewTimer(share)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return fmt.Errorf("%s: not ended after %v", s.name, share.Round(time.Millisecond))
	}
}

// Shutdown sends what telemetry is left and ends what Start began. It returns
// what could not be sent. It takes no longer than ctx allows, or
// Config.ShutdownTimeout when ctx has no deadline or has ended already: a
// program that hands down the context whose end made it stop still gets its
// last spans out. A second call waits for the first, as long as its own ctx
// allows, and returns the same. A nil Telemetry returns nil.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.config.ShutdownTimeout)
		defer cancel()
	}
	if t.ending.CompareAndSwap(false, true) {
		t.Drain()
		if err := t.end(ctx); err != nil {
			t.ended = fmt.Errorf("observe: Shutdown: %w", err)
		}
		close(t.done)
		return t.ended
	}
	select {
	case <-t.done:
		return t.ended
	case <-ctx.Done():
		return errors.New("observe: Shutdown: the call before has not ended yet")
	}
}

// Flush sends what telemetry waits, for a process that may be frozen between
// requests, as in AWS Lambda; it ends when ctx does and returns what could not
// be sent. A nil Telemetry returns nil.
func (t *Telemetry) Flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	errs := []error{t.provider.Flush(ctx), t.flushMetrics(ctx)}
	if t.logExport != nil {
		errs = append(errs, t.logExport.provider.ForceFlush(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("observe: Flush: %w", err)
	}
	return nil
}

// Registry returns the registry that /metrics serves, for collectors of the
// program's own. A nil Telemetry returns a registry that nobody serves.
func (t *Telemetry) Registry() *prometheus.Registry {
	if t == nil {
		return prometheus.NewRegistry()
	}
	return t.metrics.registry
}

// AdminAddr returns the host and port on which the admin pages listen, empty
// when they do not.
func (t *Telemetry) AdminAddr() string {
	if t == nil {
		return ""
	}
	return t.address
}

// setGlobals makes libraries with OpenTelemetry instrumentation part of the
// service's traces and metrics. At the end it puts back what was there, unless
// somebody else has set another meanwhile.
func (t *Telemetry) setGlobals(third *thirdParty) {
	tracers, meters, propagator, handler := otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetTextMapPropagator(), otel.GetErrorHandler()
	ourPropagator, ourHandler := span.Propagator{Baggage: t.config.Tracing.Baggage}, &errorHandler{t}
	otel.SetTracerProvider(t.provider)
	otel.SetMeterProvider(third)
	otel.SetTextMapPropagator(&ourPropagator)
	otel.SetErrorHandler(ourHandler)
	t.begun("globals", func(context.Context) error {
		if otel.GetTracerProvider() == trace.TracerProvider(t.provider) {
			otel.SetTracerProvider(tracers)
		}
		if otel.GetMeterProvider() == metric.MeterProvider(third) {
			otel.SetMeterProvider(meters)
		}
		if otel.GetTextMapPropagator() == propagation.TextMapPropagator(&ourPropagator) {
			otel.SetTextMapPropagator(propagator)
		}
		if otel.GetErrorHandler() == otel.ErrorHandler(ourHandler) {
			otel.SetErrorHandler(handler)
		}
		return nil
	})
}

// errorHandler takes the errors that OpenTelemetry has nobody else to tell.
type errorHandler struct{ t *Telemetry }

// Handle implements otel.ErrorHandler.
func (h *errorHandler) Handle(err error) {
	h.t.warn("otel", "observe: OpenTelemetry reports an error", "err", oneLine(err.Error()))
}

// internalLog takes what OpenTelemetry's packages write about themselves, which
// would go to standard error as it is: an error at most once a minute for each
// text. It implements logr.LogSink.
type internalLog struct {
	logger *slog.Logger
	quiet  onceAMinute
}

func (l *internalLog) Init(logr.RuntimeInfo)               {}
func (l *internalLog) Enabled(level int) bool              { return level <= 0 }
func (l *internalLog) Info(_ int, msg string, args ...any) { l.log(msg, args) }
func (l *internalLog) Error(err error, msg string, args ...any) {
	l.log(msg, append(args, "err", err))
}
func (l *internalLog) WithValues(...any) logr.LogSink { return l }
func (l *internalLog) WithName(string) logr.LogSink   { return l }

func (l *internalLog) log(msg string, args []any) {
	if l.quiet.allow(msg, time.Now()) {
		l.logger.Warn("observe: OpenTelemetry: "+oneLine(msg), args...)
	}
}

// warn logs at most once a minute for each kind of trouble.
func (t *Telemetry) warn(kind, msg string, args ...any) {
	if t.quiet.allow(kind, time.Now()) {
		t.config.Logger.Warn(msg, args...)
	}
}

// exemplar returns the identity of a span whose trace a reader will find, or
// an invalid one.
func exemplar(s *span.Span) trace.SpanContext {
	if !s.Exported() {
		return trace.SpanContext{}
	}
	return s.SpanContext()
}
