package span

import (
	"context"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// provider returns a provider that exports into memory, and a function that reads what has arrived.
func provider(t testing.TB, s Settings) (*Provider, func() tracetest.SpanStubs) {
	t.Helper()
	mem := tracetest.NewInMemoryExporter()
	s.Exporters = append(s.Exporters, Exporter{Name: "memory", SpanExporter: mem})
	p := New(s)
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return p, func() tracetest.SpanStubs {
		if err := p.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		return mem.GetSpans()
	}
}

func refuse() sdktrace.Sampler { return sdktrace.ParentBased(sdktrace.NeverSample()) }

func TestASpanIsAContextInWhichItIsTheCurrentSpan(t *testing.T) {
	p, _ := provider(t, Settings{})
	type key struct{}
	parent, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "value"))
	var s Span
	p.Begin(&s, parent, Options{Name: "server"})
	if got := trace.SpanFromContext(&s); got != trace.Span(&s) {
		t.Errorf("the current span is %v", got)
	}
	if (&s).Value(key{}) != "value" {
		t.Error("the parent's values are lost")
	}
	below, stop := context.WithCancel(&s)
	defer stop()
	if FromContext(below) != &s {
		t.Error("FromContext does not find the span through another context")
	}
	cancel()
	<-below.Done()
	s.Finish(Outcome{})
	if s.Err() == nil || s.IsRecording() {
		t.Error("cancelled and ended, yet it does not say so")
	}
}

func TestFromContextFindsOursBeneathAForeignSpan(t *testing.T) {
	p, _ := provider(t, Settings{})
	s := p.Start(context.Background(), Options{Name: "ours"})
	ctx, foreign := sdktrace.NewTracerProvider().Tracer("").Start(s, "foreign")
	defer foreign.End()
	if FromContext(ctx) != s {
		t.Error("not found")
	}
	if FromContext(context.Background()) != nil || FromContext(noContext) != nil {
		t.Error("found where there is none")
	}
}

func TestAChildArrivesWithItsParent(t *testing.T) {
	p, arrived := provider(t, Settings{})
	remote := ParseTraceparent(http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})
	var s Span
	p.Begin(&s, context.Background(), Options{Name: "server", Kind: trace.SpanKindServer, Remote: remote})
	ctx, child := p.Tracer("lib").Start(&s, "query", trace.WithAttributes(attribute.Int("n", 1)))
	if FromContext(ctx) != child {
		t.Error("the child's context does not hold the child")
	}
	child.End()
	s.Finish(Outcome{End: s.StartTime().Add(time.Second)})
	got := arrived()
	if len(got) != 2 {
		t.Fatalf("%d spans arrived", len(got))
	}
	query, server := got[0], got[1]
	if query.Parent.SpanID() != server.SpanContext.SpanID() || server.Parent.SpanID() != remote.SpanID() ||
		server.SpanContext.TraceID() != remote.TraceID() || !server.Parent.IsRemote() {
		t.Errorf("family broken: %v %v", query, server)
	}
	if d := server.EndTime.Sub(server.StartTime); d != time.Second {
		t.Errorf("took %v", d)
	}
	if len(query.Attributes) != 1 || server.ChildSpanCount != 1 {
		t.Errorf("attributes %v, children %d", query.Attributes, server.ChildSpanCount)
	}
}

func TestARefusedTraceThatFailsIsExportedAfterAll(t *testing.T) {
	p, arrived := provider(t, Settings{Sampler: refuse()})
	var s Span
	p.Begin(&s, context.Background(), Options{Name: "server"})
	if s.Sampled() || s.SpanContext().IsSampled() {
		t.Fatal("sampled")
	}
	early := p.Start(&s, Options{Name: "early"})
	late := p.Start(&s, Options{Name: "late"})
	early.Finish(Outcome{})
	if n := len(arrived()); n != 0 {
		t.Fatalf("%d spans arrived before the root ended", n)
	}
	s.Finish(Outcome{Failed: true})
	late.Finish(Outcome{})
	got := arrived()
	if len(got) != 3 {
		t.Fatalf("%d spans arrived", len(got))
	}
	for i, want := range []string{"early", "server", "late"} {
		if got[i].Name != want || got[i].SpanContext.TraceID() != s.TraceID() || !got[i].SpanContext.IsSampled() {
			t.Errorf("span %d is %s of %s", i, got[i].Name, got[i].SpanContext.TraceID())
		}
	}
	if a := got[1].Attributes; len(a) != 1 || a[0] != KeepReason.String("error") {
		t.Errorf("attributes %v", a)
	}
	h := http.Header{}
	s.Inject(h)
	if tp := h.Get("traceparent"); tp[len(tp)-2:] != "00" {
		t.Errorf("downstream is told %s", tp)
	}
}

func TestARefusedTraceThatWentWellIsForgotten(t *testing.T) {
	p, arrived := provider(t, Settings{Sampler: refuse()})
	var s Span
	p.Begin(&s, context.Background(), Options{Name: "server"})
	p.Start(&s, Options{Name: "child"}).Finish(Outcome{})
	s.Finish(Outcome{})
	if n := len(arrived()); n != 0 {
		t.Errorf("%d spans arrived", n)
	}
	if st := p.Stats(); st.Live != 0 || st.Exporters[0].Produced != 0 {
		t.Errorf("%+v", st)
	}
}

func TestANilAndADisabledProviderStillMakeContexts(t *testing.T) {
	for _, p := range []*Provider{nil, New(Settings{Off: true})} {
		remote := ParseTraceparent(http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}})
		var s Span
		p.Begin(&s, context.Background(), Options{Name: "server", Remote: remote})
		s.SetAttributes(attribute.Int("n", 1))
		child := p.Start(&s, Options{Name: "child"})
		if child.SpanContext().SpanID() != remote.SpanID() || child.IsRecording() {
			t.Errorf("the caller's trace is not passed on: %v", child.SpanContext())
		}
		child.Finish(Outcome{})
		s.Finish(Outcome{Failed: true})
		s.End()
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func TestEveryEndedSpanIsSeenByOnEnd(t *testing.T) {
	var names []string
	p, _ := provider(t, Settings{Sampler: refuse()})
	p.OnEnd(func(s *Span) Wait {
		names = append(names, s.Name())
		if v, ok := s.Lookup("db.system.name"); s.Name() == "query" && (!ok || v.AsString() != "redis") {
			t.Error("the attribute cannot be looked up")
		}
		return Wait{}
	})
	var s Span
	p.Begin(&s, context.Background(), Options{Name: "server"})
	_, c := p.Tracer("redisotel").Start(&s, "query", trace.WithSpanKind(trace.SpanKindClient))
	if !c.IsRecording() {
		t.Error("a library would not set what identifies the dependency")
	}
	c.SetAttributes(attribute.String("db.system.name", "redis"))
	c.End()
	c.End()
	s.Finish(Outcome{})
	s.Finish(Outcome{})
	if len(names) != 2 || names[0] != "query" || names[1] != "server" {
		t.Errorf("seen: %v", names)
	}
}

func TestALinkedSpanBeginsATraceOfItsOwn(t *testing.T) {
	far := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true})
	one, none := sdktrace.NewSpanLimits(), sdktrace.NewSpanLimits()
	one.LinkCountLimit, none.LinkCountLimit = 1, 0
	for _, c := range []struct {
		name  string
		limit *sdktrace.SpanLimits
		links []byte // the first byte of each linked trace
		lost  int
	}{
		{"no limit", nil, []byte{1, 9}, 0},
		{"room for one", &one, []byte{9}, 1},
		{"room for none", &none, nil, 0}, // the SDK, too, tells what was lost only beside what was kept
	} {
		t.Run(c.name, func(t *testing.T) {
			p, arrived := provider(t, Settings{Limits: c.limit})
			parent := p.Start(context.Background(), Options{Name: "request"})
			var s Span
			p.BeginLinked(&s, parent, far, Options{Name: "job"})
			s.AddLink(trace.Link{SpanContext: far.WithTraceID(trace.TraceID{9})})
			child := p.Start(&s, Options{Name: "child"})
			child.Finish(Outcome{})
			s.Finish(Outcome{})
			parent.Finish(Outcome{})
			stubs := arrived()
			if len(stubs) != 3 || stubs[1].Name != "job" {
				t.Fatalf("%d spans", len(stubs))
			}
			job := stubs[1]
			var links []byte
			for _, l := range job.Links {
				id := l.SpanContext.TraceID()
				links = append(links, id[0])
			}
			if string(links) != string(c.links) || job.DroppedLinks != c.lost {
				t.Errorf("links %v, %d dropped; want %v, %d", links, job.DroppedLinks, c.links, c.lost)
			}
			if job.Parent.IsValid() || job.SpanContext.TraceID() == parent.TraceID() || job.SpanContext.TraceID() == far.TraceID() {
				t.Errorf("parent %v, trace %v", job.Parent, job.SpanContext.TraceID())
			}
			if stubs[0].SpanContext.TraceID() != job.SpanContext.TraceID() {
				t.Error("the child is in another trace")
			}
		})
	}
}
