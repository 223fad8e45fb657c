package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// Provider makes spans: see NewProvider. It implements the OpenTelemetry API's TracerProvider. Of its methods these are
// for users, who may call them concurrently, and on a nil Provider, where they do nothing:
//
//	// Tracer returns the tracer of an instrumentation scope. After Shutdown it returns one that does nothing.
//	Tracer(name string, opts ...trace.TracerOption) trace.Tracer
//
//	// Flush sends every ended span that waits, bounded by ctx. The error says how many were lost on the way.
//	Flush(ctx context.Context) error
//
//	// Shutdown takes no more spans, sends what waits, bounded by ctx, and frees everything. The error says how many could
//	// not be sent. A second call returns the result of the first.
//	Shutdown(ctx context.Context) error
//
//	// Stats returns the accounts now; after Shutdown, the final ones.
//	Stats() Stats
//
//	// Recent returns the slowest and the last failed traces of each route of the last minutes, the newest first.
//	Recent() []Trace
//
// The others serve this module's own edges and may change.
type Provider = span.Provider

// Stats are a provider's accounts:
//
//	Live       int64 // local roots that are known and have not come to rest with all their children
//	KeptLate   int64 // traces exported though the sampler had refused them
//	OverBudget int64 // traces that would have been, beyond Late.Budget
//	Evicted    int64 // traces that gave up their waiting spans because more than Late.Traces were live
//	Exporters  []struct {
//		Name     string
//		Produced int64            // spans that were to be exported: Exported + Queued + the sum of Dropped, at any time
//		Queued   int64            // waiting, or on their way
//		Capacity int64            // the most that may be queued
//		Exported int64            // taken by the receiver
//		Dropped  map[string]int64 // by reason
//	}
type Stats = span.Stats

// Trace is a recent trace's part in this process, with its ID, Route, Start, Duration, Spans and whether it Failed and was
// Exported, and what was logged meanwhile, if package observe was given the logs. String draws it as a waterfall, and it
// marshals to JSON.
type Trace = span.Trace

// Late says which refused traces are exported after all, when their local root ends. Those that failed, panicked or were
// marked with Keep always are, within Budget. The zero Late takes the defaults.
type Late struct {
	// Slow also keeps a trace whose root took this long or longer. Default: 1 s; negative: never.
	Slow time.Duration
	// Factor also keeps a trace whose root took longer than its route's recent p99 times Factor, which is at least 1, and
	// 10 ms. Default: 3; negative: never.
	Factor float64
	// Budget is how many traces are kept per second, and at once. Default: 100; negative: none.
	Budget float64
	// SpansPerTrace is how many spans are remembered of one trace. Default: 128.
	SpansPerTrace int
	// Traces is how many traces are remembered at once; beyond, the oldest gives up its spans. Default: 4096.
	Traces int
}

// Config says how traces are made and where they go. The zero Config works. A field wins over its variable, which wins
// over the default.
type Config struct {
	// Service names what is traced. Default: "unknown_service:" and the program's name; OTEL_SERVICE_NAME.
	Service string
	// Version is the service's. Default: none; service.version in OTEL_RESOURCE_ATTRIBUTES.
	Version string
	// Resource adds to what describes the service. Default: none; OTEL_RESOURCE_ATTRIBUTES.
	Resource []attribute.KeyValue
	// Sampler decides when a trace begins. Default: sdktrace.ParentBased(sdktrace.AlwaysSample()); OTEL_TRACES_SAMPLER and
	// OTEL_TRACES_SAMPLER_ARG, which is an error alone.
	Sampler sdktrace.Sampler
	// Exporter is where spans go. The provider shuts it down. Default: none, so that nothing is sent anywhere;
	// OTEL_TRACES_EXPORTER, or OTLP when OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set.
	Exporter sdktrace.SpanExporter
	// Processors are the user's own, called before the exporter in this order. The provider shuts them down. A refused
	// span that is kept late is shown to OnStart when it has ended. Default: none.
	Processors []sdktrace.SpanProcessor
	// Late says which refused traces are exported after all. Default: see Late; no variable.
	Late Late
	// Baggage lists the keys of baggage that Propagator lets in and out, "*" for all. Default: none; no variable.
	Baggage []string
	// Redact lists further keys of a URL's query whose values are replaced by REDACTED in url.full, url.query and their
	// older names, beside the semantic conventions' list, users and passwords, and the usual names of tokens.
	// Default: none; no variable.
	Redact []string
	// IDs makes trace and span IDs. Default: random; no variable.
	IDs sdktrace.IDGenerator
	// Limits bound what one span holds. Default: the SDK's; OTEL_SPAN_*_LIMIT, OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT and
	// OTEL_LINK_ATTRIBUTE_COUNT_LIMIT.
	Limits *sdktrace.SpanLimits
	// Logger gets one record a minute at most while spans are lost. Default: slog.Default(); no variable.
	Logger *slog.Logger
	// Disabled records nothing; contexts still carry the caller's trace. Default: false; OTEL_SDK_DISABLED.
	Disabled bool
	// SDKSpans uses the OpenTelemetry SDK's own spans in place of this module's, at their cost: without late sampling,
	// recent traces, redaction and observe's metrics of calls that other libraries trace. Default: false; no variable.
	SDKSpans bool
}

// NewProvider makes a Provider. It sets no global. The error names, one line each, every variable and field that cannot
// work; then nothing was started. ctx bounds the making of the exporter only. Shutdown frees the provider.
func NewProvider(ctx context.Context, c Config) (*Provider, error) {
	e := environment{}
	s := span.Settings{
		Sampler: c.Sampler, IDs: c.IDs, Limits: c.Limits, Processors: c.Processors, Late: span.Late(c.Late),
		Redactor: span.Redactor{Keys: c.Redact},
		Off:      c.Disabled || e.flag("OTEL_SDK_DISABLED"), SDKSpans: c.SDKSpans,
	}
	logger := c.Logger
	s.Log = func(msg string, args ...any) {
		l := logger
		if l == nil {
			l = slog.Default()
		}
		l.Warn(msg, args...)
	}
	if s.Sampler == nil {
		s.Sampler = e.sampler()
	}
	e.numbers()
	s.Resource = e.resource(ctx, c)
	for _, m := range c.Baggage {
		if m == "" {
			e.fail("Config.Baggage", errors.New("an empty key"))
		}
	}
	for i, sp := range c.Processors {
		if sp == nil {
			e.fail(fmt.Sprintf("Config.Processors[%d]", i), errors.New("nil"))
		}
	}
	if n := c.Late.SpansPerTrace; n < 0 {
		e.fail("Config.Late.SpansPerTrace", fmt.Errorf("%d is negative", n))
	}
	if n := c.Late.Traces; n < 0 {
		e.fail("Config.Late.Traces", fmt.Errorf("%d is negative", n))
	}
	if f := c.Late.Factor; f > 0 && f < 1 {
		e.fail("Config.Late.Factor", fmt.Errorf("%g is below 1: every request would be slow", f))
	}
	if s.Off {
		if len(e.errs) > 0 {
			return nil, errors.Join(e.errs...)
		}
		if c.Exporter != nil {
			s.Exporters = []span.Exporter{{SpanExporter: c.Exporter}}
		}
		return span.New(s), nil
	}
	exporter := e.exporter(ctx, c.Exporter)
	if len(e.errs) > 0 {
		if exporter != nil && exporter.SpanExporter != c.Exporter {
			_ = exporter.Shutdown(ctx) // what was begun is undone; the errors to tell are those of the settings
		}
		return nil, errors.Join(e.errs...)
	}
	if exporter != nil {
		s.Exporters = []span.Exporter{*exporter}
	}
	return span.New(s), nil
}

// Propagator returns what carries traces and c's baggage between processes, for otel.SetTextMapPropagator.
func (c Config) Propagator() propagation.TextMapPropagator {
	return span.Propagator{Baggage: c.Baggage}
}
