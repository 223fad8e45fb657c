package tracing_test

import (
	"context"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

func BenchmarkDo(b *testing.B) {
	p, err := tracing.NewProvider(b.Context(), tracing.Config{Sampler: sdktrace.NeverSample()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, s := p.Tracer("bench").Start(b.Context(), "root")
	defer s.End()
	b.ReportAllocs()
	for b.Loop() {
		_ = tracing.Do(ctx, "step", func(context.Context) error { return nil })
	}
}

func BenchmarkTracer(b *testing.B) {
	for name, c := range map[string]tracing.Config{"ours": {Sampler: sdktrace.NeverSample()}, "SDK": {Sampler: sdktrace.NeverSample(), SDKSpans: true}} {
		b.Run(name, func(b *testing.B) {
			p, err := tracing.NewProvider(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			t := p.Tracer("bench")
			b.ReportAllocs()
			for b.Loop() {
				_, s := t.Start(context.Background(), "root")
				s.End()
			}
		})
	}
}
