package benchmarks

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/trace"
)

// BenchmarkLog is one record with four attributes inside a sampled span,
// written as JSON to nowhere except where the name says OTLP only.
func BenchmarkLog(b *testing.B) {
	sdkSpan := func(b *testing.B) context.Context {
		ctx, span := otelTraces(b, always).Tracer("benchmarks").Start(background, "request")
		b.Cleanup(func() { span.End() })
		return ctx
	}
	for _, p := range []struct {
		name string
		open func(*testing.B) (context.Context, slog.Handler)
	}{
		{"bare", func(*testing.B) (context.Context, slog.Handler) { return background, jsonHandler() }},
		{"by-hand", func(b *testing.B) (context.Context, slog.Handler) { return sdkSpan(b), withIDs{jsonHandler()} }},
		{"otelslog-only", func(b *testing.B) (context.Context, slog.Handler) { return sdkSpan(b), otelslogHandler(b) }},
		{"otelslog-and-json", func(b *testing.B) (context.Context, slog.Handler) {
			return sdkSpan(b), slog.NewMultiHandler(jsonHandler(), otelslogHandler(b))
		}},
		{"observe", observeLog},
	} {
		b.Run(p.name, func(b *testing.B) {
			ctx, h := p.open(b)
			log := slog.New(h)
			measure(b, func() {
				log.LogAttrs(ctx, slog.LevelInfo, "order paid",
					slog.Int("order", 42), slog.String("method", "card"), slog.Int("cents", 1999), slog.Bool("first", true))
			})
		})
	}
}

func jsonHandler() slog.Handler { return slog.NewJSONHandler(io.Discard, nil) }

// withIDs is what most services have in some form.
type withIDs struct{ slog.Handler }

func (h withIDs) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func otelslogHandler(b *testing.B) slog.Handler {
	p := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(noRecords{})))
	b.Cleanup(func() { p.Shutdown(context.Background()) })
	return otelslog.NewHandler("benchmarks", otelslog.WithLoggerProvider(p))
}

// noRecords is an exporter that throws away.
type noRecords struct{}

func (noRecords) Export(context.Context, []sdklog.Record) error { return nil }
func (noRecords) ForceFlush(context.Context) error              { return nil }
func (noRecords) Shutdown(context.Context) error                { return nil }
