package observe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
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
	health   *health
	admin    http.Handler
	address  string

	server           *server
	client           *client
	databaseDuration *vec[*timing]
	calls            *calls
	dependencies     *dependencies
	pools            *pools
	logCounts        *logCounts
	losses           *losses
	quiet            onceAMinute

	undo     []func(context.Context) error // in the order of starting
	shutdown sync.Once
	ended    error
}

// running is the Telemetry of this process. There is one at most, because the
// OpenTelemetry globals are the process's too.
var running atomic.Pointer[Telemetry]

// Start begins to observe the service. It sets the OpenTelemetry globals
// (tracer and meter provider, propagator, error handler), starts sampling the
// runtime and opens the admin address. A Config that cannot work is told in
// one error, a line for each field, and nothing is started; a Start that fails
// undoes what it began. There is one Telemetry a process: a second Start
// before Shutdown is an error.
//
// Start does not stop when ctx ends; Shutdown ends what it began. After Start
// nothing returns errors: what is lost is counted in observe_dropped_total.
func Start(ctx context.Context, config Config) (_ *Telemetry, err error) {
	config, err = config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("observe: Start: %w", err)
	}
	t := &Telemetry{config: config, started: time.Now()}
	if !running.CompareAndSwap(nil, t) {
		return nil, fmt.Errorf("observe: Start: this process is already observed as %q; Shutdown that one first", running.Load().name())
	}
	t.begun(func(context.Context) error { running.CompareAndSwap(t, nil); return nil })
	defer func() {
		if err != nil {
			err = fmt.Errorf("observe: Start: %w", err)
			t.end(context.WithoutCancel(ctx)) // what was begun can hold nothing yet that could be lost
		}
	}()

	t.metrics = newMetrics(config.MaxSeries, config.Buckets, config.Logger)
	t.losses = newLosses()
	if theirs := config.Tracing.OnEnd; theirs != nil {
		config.Tracing.OnEnd = func(s *span.Span) { t.dependencies.ended(s); theirs(s) }
	} else {
		config.Tracing.OnEnd = func(s *span.Span) { t.dependencies.ended(s) }
	}
	if t.provider, err = tracing.NewProvider(ctx, config.Tracing); err != nil {
		return nil, err
	}
	t.begun(t.provider.Shutdown)
	t.scope = t.provider.Scope(scopeName)
	t.losses.provider = t.provider

	third, err := newThirdParty(ctx, t)
	if err != nil {
		return nil, err
	}
	t.begun(third.shutdown)

	t.health = newHealth(t.metrics)
	t.server = newServer(t)
	t.client = newClient(t)
	t.calls = &calls{duration: t.metrics.histogram(dependencyDuration)}
	t.databaseDuration = t.metrics.histogram(dbDuration)
	t.dependencies = newDependencies(t)
	t.pools = newPools()
	t.logCounts = newLogCounts(t.metrics)
	t.sampler = &runtimemetrics.Sampler{Interval: config.Interval}
	build, _ := t.metrics.gauge(buildInfo).with(config.Service, config.Version, runtime.Version())
	build.Set(1)
	t.metrics.registry.MustRegister(
		&runtimemetrics.Collector{Sampler: t.sampler}, t.pools, t.losses,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)

	t.admin = t.adminMux()
	if config.AdminAddr != Off {
		l, err := listenAdmin(config)
		if err != nil {
			return nil, err
		}
		t.address = l.Addr().String()
		t.begun(t.serveAdmin(l))
	}

	sampling, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		t.sampler.Run(sampling)
	}()
	t.begun(func(context.Context) error { stop(); <-stopped; return nil })

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

// begun notes how to end what was just begun.
func (t *Telemetry) begun(end func(context.Context) error) { t.undo = append(t.undo, end) }

// end ends all that was begun, the last first, so that spans and logs of the
// end itself are still sent. Each step gets an equal share of the time left.
func (t *Telemetry) end(ctx context.Context) error {
	var errs []error
	for i := len(t.undo) - 1; i >= 0; i-- {
		step, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			step, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(i+1))
		}
		errs = append(errs, t.undo[i](step))
		cancel()
	}
	t.undo = nil
	return errors.Join(errs...)
}

// Shutdown sends what telemetry is left and ends what Start began. It returns
// what could not be sent. It takes no longer than ctx allows, or
// Config.ShutdownTimeout when ctx has no deadline or has ended already: a
// program that hands down the context whose end made it stop still gets its
// last spans out. A second call waits for the first and returns the same. A
// nil Telemetry returns nil.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.shutdown.Do(func() {
		t.Drain()
		if ctx.Err() != nil {
			ctx = context.WithoutCancel(ctx)
		}
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, t.config.ShutdownTimeout)
			defer cancel()
		}
		if err := t.end(ctx); err != nil {
			t.ended = fmt.Errorf("observe: Shutdown: %w", err)
		}
	})
	return t.ended
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
// service's traces and metrics, and puts back what was there at the end.
func (t *Telemetry) setGlobals(third *thirdParty) {
	tracers, meters, propagator, handler := otel.GetTracerProvider(), otel.GetMeterProvider(), otel.GetTextMapPropagator(), otel.GetErrorHandler()
	otel.SetTracerProvider(t.provider)
	otel.SetMeterProvider(third.provider)
	otel.SetTextMapPropagator(span.Propagator{})
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		t.warn("otel", "observe: OpenTelemetry reports an error", "err", oneLine(err.Error()))
	}))
	t.begun(func(context.Context) error {
		otel.SetTracerProvider(tracers)
		otel.SetMeterProvider(meters)
		otel.SetTextMapPropagator(propagator)
		otel.SetErrorHandler(handler)
		return nil
	})
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
