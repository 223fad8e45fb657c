package tracing_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/tracing"
)

// table is what a queue's client library calls its headers.
type table map[string]any

func TestATraceCrossesEveryKindOfHeaders(t *testing.T) {
	p, _ := provider(t, tracing.Config{})
	sender, s := p.Tracer("test").Start(t.Context(), "publish")
	defer s.End()
	check := func(kind string, carried context.Context, size int) {
		t.Helper()
		if tracing.ID(carried) != tracing.ID(sender) || !trace.SpanContextFromContext(carried).IsRemote() {
			t.Errorf("%s: the trace did not cross", kind)
		}
		if size != 1 {
			t.Errorf("%s: %d headers", kind, size)
		}
	}
	strings, lists, bytes, anything, header := map[string]string{}, map[string][]string{}, map[string][]byte{}, table{}, http.Header{}
	tracing.Inject(sender, strings)
	check("string", tracing.Extract(t.Context(), strings), len(strings))
	tracing.Inject(sender, lists)
	check("[]string", tracing.Extract(t.Context(), lists), len(lists))
	tracing.Inject(sender, bytes)
	check("[]byte", tracing.Extract(t.Context(), bytes), len(bytes))
	tracing.Inject(sender, anything)
	check("any", tracing.Extract(t.Context(), anything), len(anything))
	tracing.Inject(sender, header)
	check("http.Header", tracing.Extract(t.Context(), header), len(header))
	if header.Get("traceparent") == "" {
		t.Errorf("net/http does not find it in %v", header)
	}
	check("another case", tracing.Extract(t.Context(), map[string]string{"TRACEPARENT": strings["traceparent"]}), 1)
	check("bytes in any", tracing.Extract(t.Context(), table{"traceparent": []byte(strings["traceparent"])}), 1)

	numbers := map[string]int{}
	tracing.Inject(sender, numbers)
	tracing.Inject(sender, map[string]string(nil))
	for _, ctx := range []context.Context{
		tracing.Extract(t.Context(), numbers), tracing.Extract(t.Context(), table(nil)), tracing.Extract(t.Context(), table{"traceparent": 7}),
		tracing.Extract(t.Context(), map[string][]string{"traceparent": {"a", "b"}}),
	} {
		if id := tracing.ID(ctx); id != "" || len(numbers) != 0 {
			t.Errorf("a trace came out of nothing: %s", id)
		}
	}
}

func TestABatchIsLinkedToItsSenders(t *testing.T) {
	p, arrived := provider(t, tracing.Config{})
	batch, s := p.Tracer("test").Start(t.Context(), "batch")
	var want []string
	for i := range 3 {
		sender, m := p.Tracer("test").Start(t.Context(), fmt.Sprint("message ", i))
		headers := map[string]string{}
		tracing.Inject(sender, headers)
		tracing.Link(batch, headers)
		want = append(want, tracing.ID(sender))
		m.End()
	}
	tracing.Link(batch, map[string]string{"traceparent": "nonsense"})
	tracing.Link(t.Context(), map[string]string{})
	s.End()
	for _, got := range arrived() {
		if got.Name != "batch" {
			continue
		}
		if len(got.Links) != 3 {
			t.Fatalf("%d links", len(got.Links))
		}
		for i, l := range got.Links {
			if l.SpanContext.TraceID().String() != want[i] {
				t.Errorf("link %d leads to %s", i, l.SpanContext.TraceID())
			}
		}
	}
}

func TestWithoutASpanNothingHappens(t *testing.T) {
	ctx := t.Context()
	tracing.Keep(ctx)
	if id := tracing.ID(ctx); id != "" {
		t.Errorf("ID %q", id)
	}
	headers := map[string]string{}
	tracing.Inject(ctx, headers)
	if len(headers) != 0 {
		t.Errorf("injected %v", headers)
	}
	called := false
	if err := tracing.Do(ctx, "step", func(context.Context) error { called = true; return nil }); err != nil || !called {
		t.Errorf("the step was not done: %v", err)
	}
}

func FuzzCarrier(f *testing.F) {
	f.Add("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate", "a=1")
	f.Add("Traceparent", "", "baggage", "a=1")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		ctx := tracing.Extract(context.Background(), table{k1: v1, k2: []byte(v2)})
		out := map[string][]byte{}
		tracing.Inject(ctx, out)
		if (tracing.ID(ctx) == "") != (len(out) == 0) {
			t.Errorf("%v from a context with trace %q", out, tracing.ID(ctx))
		}
	})
}
