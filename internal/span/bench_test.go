package span

import (
	"context"
	"net/http"
	"testing"
	"time"
	"unsafe"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// state is what an edge allocates: its span inside its own record.
type state struct {
	Span
	method string
	status int
}

func (s *state) Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue {
	if !ended {
		return append(attrs, attribute.String("http.request.method", s.method), attribute.String("url.scheme", "http"),
			attribute.String("url.path", "/items/1"), attribute.String("server.address", "localhost"))
	}
	return append(attrs, attribute.Int("http.response.status_code", s.status), attribute.String("http.route", "/items/{id}"))
}

var (
	withParent = http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}}
	sink       any
)

// request is the server's part: parent in, begin, finish.
func request(p *Provider, h http.Header, below func(*Span)) {
	s := &state{method: "GET"}
	p.Begin(&s.Span, context.Background(), Options{Name: "GET", Kind: trace.SpanKindServer, Remote: ParseTraceparent(h), Describer: s})
	sink = &s.Span
	if below != nil {
		below(&s.Span)
	}
	s.status = 200
	s.SetName("GET /items/{id}")
	s.Finish(Outcome{Route: "GET /items/{id}"})
}

type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }

func TestTheHotPathAllocatesAsPromised(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p := New(Settings{Sampler: refuse(), Exporters: []Exporter{{Name: "nowhere", SpanExporter: nowhere{}}}})
	defer p.Shutdown(context.Background())
	all := New(Settings{Exporters: []Exporter{{Name: "nowhere", SpanExporter: nowhere{}, Queue: 1 << 20}}})
	defer all.Shutdown(context.Background())
	var root Span
	p.Begin(&root, context.Background(), Options{Name: "root"})
	defer root.Finish(Outcome{})
	for _, c := range []struct {
		what string
		most float64
		f    func()
	}{
		{"a refused server span: its own memory", 1, func() { request(p, withParent, nil) }},
		{"a refused server span with a child: and the first children's", 2, func() {
			request(p, withParent, func(s *Span) { p.Start(s, Options{Name: "query"}).Finish(Outcome{}) })
		}},
		{"a refused child: a quarter", 0, func() { p.Start(&root, Options{Name: "query", Kind: trace.SpanKindClient}).Finish(Outcome{}) }},
		{"a sampled server span: and the record", 2, func() { request(all, nil, nil) }},
		{"parsing traceparent: none", 0, func() { ParseTraceparent(withParent) }},
		{"FromContext: none", 0, func() { sink = FromContext(&root) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := testing.AllocsPerRun(1000, c.f); got > c.most {
				t.Errorf("%v allocations, want at most %v", got, c.most)
			}
		})
	}
	h := http.Header{}
	root.Inject(h)
	if got := testing.AllocsPerRun(100, func() { root.Inject(h) }); got > 1 {
		t.Errorf("injecting: %v allocations", got)
	}
	root.IDs()
	if got := testing.AllocsPerRun(100, func() { sink, _ = any(nil), 0; root.IDs() }); got > 0 {
		t.Errorf("the IDs again: %v allocations", got)
	}
}

func TestASpanIsSmall(t *testing.T) {
	// Four children fit into 768 bytes with the allocator's header. The server's allocation is some 100 bytes more than one
	// span; with net/http's copy of the request, 304 bytes, it stays below 600.
	if size := unsafe.Sizeof(Span{}); size > 184 {
		t.Errorf("%d bytes", size)
	}
}

func BenchmarkServerRefused(b *testing.B) {
	p := New(Settings{Sampler: refuse(), Exporters: []Exporter{{Name: "nowhere", SpanExporter: nowhere{}}}})
	defer p.Shutdown(context.Background())
	b.ReportAllocs()
	for b.Loop() {
		request(p, withParent, nil)
	}
}

func BenchmarkServerRefusedParallel(b *testing.B) {
	p := New(Settings{Sampler: refuse(), Exporters: []Exporter{{Name: "nowhere", SpanExporter: nowhere{}}}})
	defer p.Shutdown(context.Background())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s := &state{method: "GET"}
			p.Begin(&s.Span, context.Background(), Options{Name: "GET", Kind: trace.SpanKindServer, Remote: ParseTraceparent(withParent), Describer: s})
			s.Finish(Outcome{Route: "GET /items/{id}"})
		}
	})
}

func BenchmarkServerRefusedNoLate(b *testing.B) {
	p := New(Settings{Sampler: refuse(), Late: Late{Budget: -1, Slow: -1, Factor: -1}})
	defer p.Shutdown(context.Background())
	b.ReportAllocs()
	for b.Loop() {
		request(p, withParent, nil)
	}
}

func BenchmarkServerSampled(b *testing.B)    { sampled(b, false) }
func BenchmarkServerSampledSDK(b *testing.B) { sampled(b, true) }

// sampled measures requests whose spans all find room in the queue: it is emptied while the clock stands.
func sampled(b *testing.B, sdk bool) {
	const queue = 1 << 14
	p := New(Settings{SDKSpans: sdk, Exporters: []Exporter{{Name: "nowhere", SpanExporter: nowhere{}, Queue: queue}}})
	b.ReportAllocs()
	for i := 1; b.Loop(); i++ {
		request(p, nil, nil)
		if i%queue == 0 {
			b.StopTimer()
			_ = p.Flush(context.Background())
			b.StartTimer()
		}
	}
	_ = p.Shutdown(context.Background())
	if e := p.Stats().Exporters[0]; e.Exported != e.Produced {
		b.Errorf("%+v", e)
	}
}

func BenchmarkChildRefused(b *testing.B) {
	p := New(Settings{Sampler: refuse()})
	defer p.Shutdown(context.Background())
	var root Span
	p.Begin(&root, context.Background(), Options{Name: "root"})
	b.ReportAllocs()
	for b.Loop() {
		p.Start(&root, Options{Name: "query", Kind: trace.SpanKindClient}).Finish(Outcome{})
	}
}

func BenchmarkServerRefusedThreeChildren(b *testing.B) {
	p := New(Settings{Sampler: refuse()})
	defer p.Shutdown(context.Background())
	b.ReportAllocs()
	for b.Loop() {
		request(p, withParent, func(s *Span) {
			for range 3 {
				p.Start(s, Options{Name: "query", Kind: trace.SpanKindClient}).Finish(Outcome{})
			}
		})
	}
}

func BenchmarkParseTraceparent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ParseTraceparent(withParent)
	}
}

func BenchmarkInject(b *testing.B) {
	p := New(Settings{Sampler: refuse()})
	var root Span
	p.Begin(&root, context.Background(), Options{Name: "root"})
	h := http.Header{}
	b.ReportAllocs()
	for b.Loop() {
		root.Inject(h)
	}
}

func BenchmarkClock(b *testing.B) {
	for b.Loop() {
		sink = nil
		_ = time.Now()
	}
}
