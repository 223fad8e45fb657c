package tracing_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
	"github.com/loadline-go/loadline/tracing"
)

// The figures of the promise: one in a hundred is sampled, and five hundred of a hundred thousand go wrong.
func TestOfAHundredThousandRequestsEveryBadOneArrivesWhole(t *testing.T) {
	const requests, bad = 100_000, 500
	ratio := sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))
	service := func(name string) (*tracing.Provider, *tracetest.InMemoryExporter) {
		mem := tracetest.NewInMemoryExporter()
		t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", fmt.Sprint(requests))
		p, err := tracing.NewProvider(t.Context(), tracing.Config{
			Service: name, Sampler: ratio, Exporter: mem, Late: tracing.Late{Slow: -1, Factor: -1, Budget: 1e6},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
		return p, mem
	}
	front, frontSpans := service("front")
	back, backSpans := service("back")

	sampled, wrong := map[trace.TraceID]bool{}, map[trace.TraceID]bool{}
	bound := uint64(1) << 63 / 100
	for i := range requests {
		fails := i%(requests/bad) == 7
		var s span.Span
		front.Begin(&s, context.Background(), span.Options{Name: "GET /", Kind: trace.SpanKindServer})
		id := s.TraceID()
		if binary.BigEndian.Uint64(id[8:])>>1 < bound {
			sampled[id] = true
		}
		if fails {
			wrong[id] = true
		}
		call := front.Start(&s, span.Options{Name: "GET", Kind: trace.SpanKindClient})
		wire := http.Header{}
		call.Inject(wire)

		var r span.Span
		back.Begin(&r, context.Background(), span.Options{Name: "GET /", Kind: trace.SpanKindServer, Header: wire})
		back.Start(&r, span.Options{Name: "SELECT", Kind: trace.SpanKindClient}).Finish(span.Outcome{})
		r.Finish(span.Outcome{Failed: fails})

		call.Finish(span.Outcome{Failed: fails})
		s.Finish(span.Outcome{Failed: fails})
	}
	for _, x := range []struct {
		name string
		p    *tracing.Provider
		mem  *tracetest.InMemoryExporter
	}{{"front", front, frontSpans}, {"back", back, backSpans}} {
		if err := x.p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		arrived := map[trace.TraceID]int{}
		for _, s := range x.mem.GetSpans() {
			arrived[s.SpanContext.TraceID()]++
		}
		late := 0
		for id, n := range arrived {
			if n != 2 {
				t.Fatalf("%s: trace %s has %d of its 2 spans", x.name, id, n)
			}
			if !sampled[id] && !wrong[id] {
				t.Fatalf("%s: trace %s went well and was not sampled", x.name, id)
			}
			if !sampled[id] {
				late++
			}
		}
		for id := range wrong {
			if arrived[id] == 0 {
				t.Fatalf("%s: trace %s went wrong and is missing", x.name, id)
			}
		}
		for id := range sampled {
			if arrived[id] == 0 {
				t.Fatalf("%s: trace %s was sampled and is missing", x.name, id)
			}
		}
		st := x.p.Stats()
		e := st.Exporters[0]
		if int(st.KeptLate) != late || e.Produced != int64(2*len(arrived)) || e.Exported != e.Produced || st.Live != 0 || st.Evicted != 0 {
			t.Errorf("%s: %d kept late: %+v", x.name, late, st)
		}
	}
}
