package span

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func TestTenThousandAttributesAreBounded(t *testing.T) {
	p, arrived := provider(t, Settings{Sampler: refuse()})
	s := p.Start(context.Background(), Options{Name: "s"})
	for i := range 10_000 {
		s.SetAttributes(attribute.Int(fmt.Sprint(i), i))
	}
	s.AddEvent("e", trace.WithAttributes(manyAttrs(10_000)...))
	s.AddLink(trace.Link{SpanContext: remoteContext(), Attributes: manyAttrs(10_000)})
	s.Finish(Outcome{Failed: true})
	got := arrived()[0]
	if len(got.Attributes) != 128 || got.DroppedAttributes != 10_000-127 { // one place is the reason's
		t.Errorf("%d attributes, %d dropped", len(got.Attributes), got.DroppedAttributes)
	}
	if n := len(got.Events[0].Attributes); n != 128 || got.Events[0].DroppedAttributeCount != 10_000-128 {
		t.Errorf("%d attributes in the event", n)
	}
	if n := len(got.Links[0].Attributes); n != 128 || got.Links[0].DroppedAttributeCount != 10_000-128 {
		t.Errorf("%d attributes in the link", n)
	}
}

func TestASpanThatManyEndIsExportedOnce(t *testing.T) {
	p, arrived := provider(t, Settings{})
	for range 200 {
		root := p.Start(context.Background(), Options{Name: "root"})
		_, s := p.Tracer("lib").Start(root, "s")
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				s.SetAttributes(attribute.Int("i", i), attribute.Int("i", -i))
				s.AddEvent("e")
				s.SetStatus(codes.Error, "x")
				s.RecordError(errors.New("x"))
				s.SetName("t")
				_ = s.(*Span).Attributes()
				_, _ = s.(*Span).IDs()
				s.End()
			})
		}
		wg.Go(func() { root.Finish(Outcome{}) })
		wg.Wait()
	}
	if n := len(arrived()); n != 400 {
		t.Errorf("%d arrived, want 400", n)
	}
	if live := p.Stats().Live; live != 0 {
		t.Errorf("%d families stay", live)
	}
}

func TestAContextMayBeKeptAfterTheRequest(t *testing.T) {
	p, _ := provider(t, Settings{Sampler: refuse()})
	var background sync.WaitGroup
	for i := range 50 {
		parent, cancel := context.WithCancel(context.Background())
		st := &state{method: "GET"}
		p.Begin(&st.Span, parent, Options{Name: "GET", Kind: trace.SpanKindServer, Header: withParent, Describer: st})
		want := st.TraceID()
		child := p.Start(&st.Span, Options{Name: "child"})
		detached := context.WithoutCancel(child)
		background.Go(func() {
			for j := range 20 {
				ctx, s := p.Tracer("lib").Start(detached, "later")
				if s.SpanContext().TraceID() != want || trace.SpanContextFromContext(ctx).TraceID() != want {
					t.Error("the trace was lost")
				}
				if FromContext(ctx).LocalRoot() != &st.Span {
					t.Error("the root was lost")
				}
				s.SetAttributes(attribute.Int("j", j))
				h := http.Header{}
				s.(*Span).Inject(h)
				s.End()
			}
			if detached.Err() != nil {
				t.Error("cancelled")
			}
		})
		child.Finish(Outcome{})
		st.status = 200
		st.Finish(Outcome{Failed: i%5 == 0})
		cancel()
	}
	background.Wait()
	if live := p.Stats().Live; live != 0 {
		t.Errorf("%d families stay", live)
	}
}

func TestShutdownMayCrossSpans(t *testing.T) {
	p, _ := provider(t, Settings{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				s := p.Start(context.Background(), Options{Name: "s"})
				p.Start(s, Options{Name: "c"}).Finish(Outcome{})
				s.Finish(Outcome{})
			}
		})
	}
	wg.Go(func() { _ = p.Flush(context.Background()) })
	wg.Go(func() { _ = p.Shutdown(context.Background()) })
	wg.Wait()
	e := p.Stats().Exporters[0]
	lost := int64(0)
	for _, n := range e.Dropped {
		lost += n
	}
	if e.Produced != 4000 || e.Exported+lost != 4000 || e.Queued != 0 {
		t.Errorf("%+v", e)
	}
}

func TestANilSpanDoesNothing(t *testing.T) {
	var s *Span
	s.SetName("x")
	s.SetStatus(codes.Error, "x")
	s.SetAttributes(attribute.Int("a", 1))
	s.AddEvent("x")
	s.AddLink(trace.Link{SpanContext: remoteContext()})
	s.RecordError(errors.New("x"))
	s.Keep()
	s.Inject(http.Header{})
	s.Finish(Outcome{})
	s.End()
	if id, _ := s.IDs(); id != "" || s.IsRecording() || s.SpanContext().IsValid() {
		t.Error("it does something")
	}
}

func TestAForeverRunningRootHoldsABoundedNumberOfSpans(t *testing.T) {
	p, _ := provider(t, Settings{Sampler: refuse()})
	root := p.Start(context.Background(), Options{Name: "worker"})
	for range 10_000 {
		p.Start(root, Options{Name: "job"}).Finish(Outcome{})
	}
	f := root.family.Load()
	n := 0
	for s := f.last; s != nil; s = s.next {
		n++
	}
	if n != defaultSpansPerTrace {
		t.Errorf("%d spans are held", n)
	}
	root.Finish(Outcome{})
	if f.last != nil {
		t.Error("spans are held after the end")
	}
}

func TestTheClockMayBeSetWhileASpanRuns(t *testing.T) {
	p, arrived := provider(t, Settings{})
	// A start without a monotonic reading, an hour in the future: the wall clock was set back since.
	s := p.Start(context.Background(), Options{Name: "s", Start: time.Now().Add(time.Hour).Round(0)})
	s.Finish(Outcome{})
	if got := arrived()[0]; got.EndTime.IsZero() {
		t.Errorf("%v to %v", got.StartTime, got.EndTime)
	}
}

func TestADiscardedSpanNeverWas(t *testing.T) {
	for _, sampler := range []sdktrace.Sampler{sdktrace.AlwaysSample(), refuse()} {
		ended := 0
		p, arrived := provider(t, Settings{Sampler: sampler})
		p.OnEnd(func(*Span) Wait { ended++; return Wait{} })
		root := p.Start(context.Background(), Options{Name: "root"})
		p.Start(root, Options{Name: "first"}).Finish(Outcome{})
		skipped := p.Start(root, Options{Name: "skipped"})
		last := p.Start(root, Options{Name: "last"})
		skipped.Discard()
		skipped.Discard()
		skipped.Finish(Outcome{Failed: true})
		last.Finish(Outcome{})
		root.Finish(Outcome{Failed: true})
		if !root.Exported() {
			t.Error("the root does not say that it is exported")
		}
		alone := p.Start(context.Background(), Options{Name: "alone"})
		alone.Discard()
		got := arrived()
		if len(got) != 3 || ended != 3 || root.ChildSpanCount() != 2 {
			t.Errorf("%d arrived, %d ended, %d children", len(got), ended, root.ChildSpanCount())
		}
		if live := p.Stats().Live; live != 0 {
			t.Errorf("%d families stay", live)
		}
	}
}

// hanging never answers, until it is told that the time is up.
type hanging struct{}

func (hanging) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	<-ctx.Done()
	return ctx.Err()
}
func (hanging) Shutdown(context.Context) error { return nil }

func TestMemoryIsBoundedThroughAnOutage(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, c := range []struct {
		name    string
		sampler sdktrace.Sampler
	}{{"sampled", sdktrace.AlwaysSample()}, {"refused", refuse()}} {
		t.Run(c.name, func(t *testing.T) {
			p := New(Settings{Sampler: c.sampler, Late: Late{Budget: 1e9}, Exporters: []Exporter{{Name: "hanging", SpanExporter: hanging{}}}})
			before := heap()
			var open []*Span
			for i := range 10_000 {
				ballast := new([4096]byte) // what a request holds on to
				root := p.Start(context.WithValue(context.Background(), ownKey{}, ballast), Options{Name: "root"})
				for range 3 {
					_, s := p.Tracer("lib").Start(root, "c", trace.WithAttributes(manyAttrs(8)...))
					s.End()
				}
				if i%50 == 0 {
					open = append(open, root) // 200 never end
					continue
				}
				root.Finish(Outcome{Failed: i%2 == 0, Route: fmt.Sprint("/", i%5000)})
			}
			// The queue, 2048 spans of 1.5 KiB; the recent traces, 768 of 4 spans; the routes, 1024 of 1.3 KiB; the open.
			if grown := heap() - before; grown > 24<<20 {
				t.Errorf("%d MiB more", grown>>20)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			if err := p.Shutdown(ctx); err == nil {
				t.Error("nothing could be sent, yet shutdown is content")
			}
			e := p.Stats().Exporters[0]
			lost := int64(0)
			for _, n := range e.Dropped {
				lost += n
			}
			if e.Produced == 0 || lost != e.Produced {
				t.Errorf("%+v", e)
			}
			runtime.KeepAlive(open)
		})
	}
}

func TestASpanForAFullQueueCostsNoCopy(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p := New(Settings{Exporters: []Exporter{{Name: "hanging", SpanExporter: hanging{}, Queue: 1}}})
	request(p, nil, nil)
	request(p, nil, nil)
	if n := testing.AllocsPerRun(100, func() { request(p, nil, nil) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
	if e := p.Stats().Exporters[0]; e.Produced != 103 || e.Dropped[reasonQueueFull] != 102 || e.Queued != 1 {
		t.Errorf("%+v", e)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_ = p.Shutdown(ctx)
}

func TestWhatALaterSDKAddsToASpanHasAnAnswer(t *testing.T) {
	p, _ := provider(t, Settings{})
	s := p.Start(context.Background(), Options{Name: "s", Kind: trace.SpanKindServer})
	s.Finish(Outcome{})
	// A method of the interface that Span and record do not have would be the embedded span's.
	if got := s.ReadWriteSpan.InstrumentationScope().Name; got != s.InstrumentationScope().Name {
		t.Errorf("the scope answers %q", got)
	}
	if r := s.record("", false, nil); r.ReadOnlySpan.EndTime().IsZero() {
		t.Error("the record's embedded span has not ended")
	}
	s.ReadWriteSpan.AddEvent("x") // and it does nothing
}
