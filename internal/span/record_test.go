package span

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// edge is an edge that describes itself at once, and by facts.
type edge struct {
	Span
	detached int
	refuses  bool
}

func (e *edge) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if ended {
		return append(attrs, attribute.Int("http.response.status_code", 200))
	}
	return append(attrs, attribute.String("url.path", "/items/1"), attribute.String("url.query", "mine=secret&q=1"))
}

func (e *edge) Detach(f *Facts) bool {
	e.detached++
	f.By, f.Texts[0], f.Bits = facts{}, "/items/1", 200
	return !e.refuses
}

type facts struct{}

func (facts) DescribeFacts(f *Facts, attrs []attribute.KeyValue) []attribute.KeyValue {
	return append(attrs, attribute.String("url.path", f.Texts[0]), attribute.String("url.query", "mine=secret&q=1"), attribute.Int("http.response.status_code", int(f.Bits)))
}

// An exporter cannot tell whether attributes were made when the span ended or when it asked; where facts do not tell all,
// they are made at the end.
func TestFactsAreExportedLikeAttributes(t *testing.T) {
	state := http.Header{traceparentKey: {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, tracestateKey: {"a=1"}}
	low := sdktrace.NewSpanLimits()
	low.AttributeCountLimit = 2
	for _, c := range []struct {
		name    string
		limits  *sdktrace.SpanLimits
		sampler sdktrace.Sampler
		header  http.Header
		refuses bool
		during  func(*Span)
		late    bool // facts are not asked for
	}{
		{name: "alone"},
		{name: "with a parent", header: state},
		{name: "with an event", during: func(s *Span) { s.AddEvent("e", trace.WithTimestamp(time.Unix(1, 0))) }, late: true},
		{name: "with attributes of its own", during: func(s *Span) { s.SetAttributes(attribute.String("own", "1")) }, late: true},
		{name: "with an attribute that the edge has too", during: func(s *Span) { s.SetAttributes(attribute.String("url.path", "/own")) }, late: true},
		{name: "below a limit", limits: &low, late: true},
		{name: "refused by the edge", refuses: true},
		{name: "kept late", sampler: sdktrace.NeverSample(), during: (*Span).Keep, late: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			export := func(d bool) (stub tracetest.SpanStub, e *edge) {
				out := tracetest.NewInMemoryExporter()
				p := New(Settings{Sampler: c.sampler, Limits: c.limits, Redactor: Redactor{Keys: []string{"mine"}}, Exporters: []Exporter{{Name: "memory", SpanExporter: out}}})
				e = &edge{refuses: c.refuses}
				p.Begin(&e.Span, context.Background(), Options{Name: "GET", Kind: trace.SpanKindServer, Header: c.header, Describer: e})
				if c.during != nil {
					c.during(&e.Span)
				}
				o := Outcome{Name: "GET /items/{id}"}
				if d {
					o.Detacher = e
				}
				e.Finish(o)
				if err := p.Flush(context.Background()); err != nil {
					t.Fatal(err)
				}
				stubs := out.GetSpans()
				_ = p.Shutdown(context.Background())
				if len(stubs) != 1 {
					t.Fatalf("%d spans", len(stubs))
				}
				return stubs[0], e
			}
			want, _ := export(false)
			got, e := export(true)
			if g, w := fmt.Sprint(got.Name, got.Attributes, got.Events, got.DroppedAttributes, got.Parent, got.SpanContext.TraceState()), fmt.Sprint(want.Name, want.Attributes, want.Events, want.DroppedAttributes, want.Parent, want.SpanContext.TraceState()); g != w {
				t.Errorf("by facts %s\nat once  %s", g, w)
			}
			if asked := e.detached > 0; asked == c.late && c.header == nil {
				t.Errorf("facts asked for: %v", asked)
			}
		})
	}
}

// Several exporters may read a record at once.
func TestARecordIsReadByMany(t *testing.T) {
	p := New(Settings{Exporters: []Exporter{{Name: "a", SpanExporter: nowhere{}}, {Name: "b", SpanExporter: nowhere{}}}})
	defer p.Shutdown(context.Background())
	e := &edge{}
	p.Begin(&e.Span, context.Background(), Options{Name: "GET", Kind: trace.SpanKindServer, Describer: e})
	e.Finish(Outcome{Name: "GET /", Detacher: e})
	r := e.record("", false, e)
	var wg sync.WaitGroup
	lists := make([][]attribute.KeyValue, 8)
	for i := range lists {
		wg.Go(func() { lists[i] = r.Attributes() })
	}
	wg.Wait()
	for _, l := range lists {
		if len(l) != 3 || &l[0] != &lists[0][0] {
			t.Errorf("%v", l)
		}
	}
}
