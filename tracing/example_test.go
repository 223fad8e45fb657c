package tracing_test

import (
	"context"
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/loadline-go/loadline/tracing"
)

func Example() {
	ctx := context.Background()
	mem := tracetest.NewInMemoryExporter() // in real life: OTEL_EXPORTER_OTLP_ENDPOINT
	p, err := tracing.NewProvider(ctx, tracing.Config{Service: "shop", Exporter: mem})
	if err != nil {
		panic(err)
	}
	defer p.Shutdown(ctx)
	root, span := p.Tracer("shop").Start(ctx, "order")
	_ = tracing.Do(root, "price", func(ctx context.Context) error { return nil })
	span.End()
	_ = p.Flush(ctx)
	for _, s := range mem.GetSpans() {
		fmt.Println(s.Name)
	}
	// Output:
	// price
	// order
}

func ExampleKeep() {
	ctx := context.Background()
	mem := tracetest.NewInMemoryExporter()
	p, _ := tracing.NewProvider(ctx, tracing.Config{Exporter: mem, Sampler: sdktrace.NeverSample()})
	defer p.Shutdown(ctx)
	for _, customer := range []string{"anyone", "vip"} {
		ctx, span := p.Tracer("shop").Start(ctx, "order of "+customer)
		if customer == "vip" {
			tracing.Keep(ctx)
		}
		span.End()
	}
	_ = p.Flush(ctx)
	for _, s := range mem.GetSpans() {
		fmt.Println(s.Name, s.Attributes[0].Key, s.Attributes[0].Value.AsString())
	}
	// Output: order of vip observe.keep_reason marked
}

func ExampleInject() {
	ctx := context.Background()
	p, _ := tracing.NewProvider(ctx, tracing.Config{})
	defer p.Shutdown(ctx)

	sender, publish := p.Tracer("shop").Start(ctx, "publish")
	headers := map[string]string{}
	tracing.Inject(sender, headers)
	publish.End()

	receiver, process := p.Tracer("worker").Start(tracing.Extract(ctx, headers), "process")
	defer process.End()
	fmt.Println(tracing.ID(receiver) == tracing.ID(sender))
	// Output: true
}
