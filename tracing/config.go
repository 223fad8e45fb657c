package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// Provider makes spans: see NewProvider. It implements the OpenTelemetry API's TracerProvider.
type Provider = span.Provider

// Span is a span of a Provider: a context, an API span and an SDK span at once.
type Span = span.Span

// Late says which refused traces are exported after all.
type Late = span.Late

// Stats are a provider's accounts.
type Stats = span.Stats

// Trace is a recent trace: String draws it as a waterfall, and it marshals to JSON.
type Trace = span.Trace

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
	// OTEL_TRACES_SAMPLER_ARG.
	Sampler sdktrace.Sampler
	// Exporter is where spans go. The provider shuts it down. Default: none, so that nothing is sent anywhere;
	// OTEL_TRACES_EXPORTER, or OTLP when OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set.
	Exporter sdktrace.SpanExporter
	// Processors are the user's own, called before the exporter in this order. The provider shuts them down. A refused
	// span that is kept late is shown to OnStart when it has ended. Default: none.
	Processors []sdktrace.SpanProcessor
	// Late says which refused traces are exported after all. Default: see Late; no variable.
	Late Late
	// Baggage lists the keys of baggage that may come in and go out, "*" for all. Default: none; no variable.
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
	// OnEnd is called for every ended span, sampled or refused, on the goroutine that ends it. Default: none; no variable.
	OnEnd func(*Span)
	// Logger gets one record a minute at most while spans are lost. Default: slog.Default(); no variable.
	Logger *slog.Logger
	// Disabled records nothing; contexts still carry the caller's trace. Default: false; OTEL_SDK_DISABLED.
	Disabled bool
	// SDKSpans uses the OpenTelemetry SDK's own spans in place of this module's, at their cost: without late sampling,
	// recent traces, redaction and OnEnd. Default: false; no variable.
	SDKSpans bool
}

// NewProvider makes a Provider. It sets no global. The error names, one line each, every variable and field that cannot
// work; then nothing was started. ctx bounds the making of the exporter only. Shutdown frees the provider.
func NewProvider(ctx context.Context, c Config) (*Provider, error) {
	e := environment{}
	s := span.Settings{
		Sampler: c.Sampler, IDs: c.IDs, Limits: c.Limits, Processors: c.Processors, Late: c.Late, OnEnd: c.OnEnd,
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
func (c Config) Propagator() span.Propagator { return span.Propagator{Baggage: c.Baggage} }
