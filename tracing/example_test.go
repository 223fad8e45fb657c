package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

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

func ExampleDo() {
	ctx := context.Background()
	p, _ := tracing.NewProvider(ctx, tracing.Config{})
	defer p.Shutdown(ctx)
	ctx, order := p.Tracer("shop").Start(ctx, "order")
	defer order.End()

	soldOut := errors.New("sold out")
	err := tracing.Do(ctx, "reserve", func(ctx context.Context) error { return soldOut })
	fmt.Println(err == soldOut)
	// Output: true
}

func ExampleID() {
	ctx := context.Background()
	p, _ := tracing.NewProvider(ctx, tracing.Config{})
	defer p.Shutdown(ctx)
	ctx = tracing.Extract(ctx, map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	ctx, span := p.Tracer("shop").Start(ctx, "order")
	defer span.End()
	fmt.Println(tracing.ID(ctx))
	// Output: 0af7651916cd43dd8448eb211c80319c
}

func ExampleLink() {
	ctx := context.Background()
	p, _ := tracing.NewProvider(ctx, tracing.Config{})
	defer p.Shutdown(ctx)
	messages := []map[string]string{
		{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	ctx, batch := p.Tracer("worker").Start(ctx, "process batch")
	for _, headers := range messages {
		tracing.Link(ctx, headers)
	}
	fmt.Println(len(batch.(sdktrace.ReadOnlySpan).Links()), "senders")
	batch.End()
	// Output: 2 senders
}

// One request in a hundred is sampled; those that fail or take two seconds arrive too, at most ten a second.
func ExampleLate() {
	ctx := context.Background()
	mem := tracetest.NewInMemoryExporter()
	p, _ := tracing.NewProvider(ctx, tracing.Config{
		Exporter: mem,
		Sampler:  sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0)), // none, so that the example always says the same
		Late:     tracing.Late{Slow: 2 * time.Second, Budget: 10},
	})
	defer p.Shutdown(ctx)
	for _, failed := range []bool{false, true} {
		_, span := p.Tracer("shop").Start(ctx, "order")
		if failed {
			span.SetStatus(codes.Error, "sold out")
		}
		span.End()
	}
	_ = p.Flush(ctx)
	fmt.Println(len(mem.GetSpans()), "exported,", p.Stats().KeptLate, "kept late")
	// Output: 1 exported, 1 kept late
}

// A function that is frozen between invocations sends its spans before it returns.
func ExampleProvider_flush() {
	mem := tracetest.NewInMemoryExporter()
	p, _ := tracing.NewProvider(context.Background(), tracing.Config{Exporter: mem})
	defer p.Shutdown(context.Background())

	handle := func(ctx context.Context) error {
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := p.Flush(ctx); err != nil {
				fmt.Println(err)
			}
		}()
		_, span := p.Tracer("function").Start(ctx, "invoke")
		defer span.End()
		return nil
	}
	_ = handle(context.Background())
	fmt.Println(len(mem.GetSpans()), "sent")
	// Output: 1 sent
}

func ExampleStats() {
	ctx := context.Background()
	p, _ := tracing.NewProvider(ctx, tracing.Config{Exporter: tracetest.NewInMemoryExporter()})
	_, span := p.Tracer("shop").Start(ctx, "order")
	span.End()
	_ = p.Shutdown(ctx)
	for _, e := range p.Stats().Exporters {
		fmt.Println(e.Produced, "produced,", e.Exported, "exported,", e.Queued, "queued,", len(e.Dropped), "reasons of loss")
	}
	// Output: 1 produced, 1 exported, 0 queued, 0 reasons of loss
}

func ExampleTrace() {
	ctx := context.Background()
	p, _ := tracing.NewProvider(ctx, tracing.Config{})
	defer p.Shutdown(ctx)
	start := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	at := func(ms int) trace.SpanEventOption {
		return trace.WithTimestamp(start.Add(time.Duration(ms) * time.Millisecond))
	}
	ctx = tracing.Extract(ctx, map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	ctx, order := p.Tracer("shop").Start(ctx, "GET /orders", at(0), trace.WithSpanKind(trace.SpanKindServer))
	_, query := p.Tracer("shop").Start(ctx, "SELECT orders", at(50), trace.WithSpanKind(trace.SpanKindClient))
	query.End(at(90))
	order.End(at(100))
	for _, t := range p.Recent() {
		fmt.Print(t)
	}
	// Output:
	// GET /orders  100ms  not exported
	// trace 0af7651916cd43dd8448eb211c80319c  2026-01-02 15:04:05.000
	//        0µs    100ms  ████████████████████████████████  GET /orders
	//       50ms     40ms  ················████████████····    SELECT orders
}

// Who sets the OpenTelemetry globals without package observe lets one key of baggage through, too.
func ExampleConfig_Propagator() {
	config := tracing.Config{Service: "shop", Baggage: []string{"tenant"}}
	otel.SetTextMapPropagator(config.Propagator())
	defer otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator())
	fmt.Println(otel.GetTextMapPropagator().Fields())
	// Output: [traceparent tracestate baggage]
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
