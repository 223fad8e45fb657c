package benchmarks

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// otelTraces is the SDK's provider with a batch processor.
func otelTraces(b *testing.B, s sampling) trace.TracerProvider {
	roomForSpans(b)
	p := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler(s)), sdktrace.WithBatcher(noSpans{}))
	b.Cleanup(func() { p.Shutdown(context.Background()) })
	return p
}

// roomForSpans makes the batch processors' queues so long that a benchmark's
// pace, far above that of a service, does not overflow them: dropping is cheap.
func roomForSpans(b *testing.B) { b.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100000") }

// otelMetrics is the SDK's provider with the Prometheus exporter.
func otelMetrics(b *testing.B) (metric.MeterProvider, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprom.New(otelprom.WithRegisterer(registry))
	if err != nil {
		b.Fatal(err)
	}
	p := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))
	b.Cleanup(func() { p.Shutdown(context.Background()) })
	return p, registry
}

func otelhttpOptions(b *testing.B, s sampling) []otelhttp.Option {
	metrics, _ := otelMetrics(b)
	return []otelhttp.Option{
		otelhttp.WithTracerProvider(otelTraces(b, s)),
		otelhttp.WithMeterProvider(metrics),
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
	}
}

func otelhttpHandler(s sampling) func(*testing.B, map[string]http.HandlerFunc) http.Handler {
	return func(b *testing.B, routes map[string]http.HandlerFunc) http.Handler {
		return otelhttp.NewHandler(bareHandler(b, routes), "server", otelhttpOptions(b, s)...)
	}
}

func otelhttpTransport(s sampling) func(*testing.B, http.RoundTripper) http.RoundTripper {
	return func(b *testing.B, base http.RoundTripper) http.RoundTripper {
		return otelhttp.NewTransport(base, otelhttpOptions(b, s)...)
	}
}

func sampler(s sampling) sdktrace.Sampler {
	if s == always {
		return sdktrace.AlwaysSample()
	}
	return sdktrace.NeverSample()
}

// noSpans is an exporter that counts and throws away.
type noSpans struct{}

var exported atomic.Int64

func (noSpans) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	exported.Add(int64(len(spans)))
	return nil
}

func (noSpans) Shutdown(context.Context) error { return nil }
