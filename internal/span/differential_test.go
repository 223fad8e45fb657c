package span

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// noContext is the nil that a careless caller passes.
var noContext context.Context

// counter makes the same IDs in both runs. Trace IDs alternate around the middle, so that a ratio divides them.
type counter struct {
	mu sync.Mutex
	n  uint64
}

func (c *counter) NewIDs(ctx context.Context) (id trace.TraceID, sid trace.SpanID) {
	c.mu.Lock()
	c.n++
	binary.BigEndian.PutUint64(id[:8], c.n)
	binary.BigEndian.PutUint64(id[8:], c.n*0x9e3779b97f4a7c15)
	c.mu.Unlock()
	return id, c.NewSpanID(ctx, id)
}

func (c *counter) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	binary.BigEndian.PutUint64(id[:], c.n)
	return id
}

// lab is one run of a program on one provider: what it saw and what arrived.
type lab struct {
	t       *testing.T
	tp      trace.TracerProvider
	flush   func(context.Context) error
	stop    func(context.Context) error
	ctx     context.Context
	mu      sync.Mutex
	notes   []string
	started []tracetest.SpanStub
	ended   []tracetest.SpanStub
	onStart func(context.Context, sdktrace.ReadWriteSpan)
	onEnd   func(sdktrace.ReadOnlySpan)
}

func (l *lab) tracer() trace.Tracer { return l.tp.Tracer("lab", trace.WithInstrumentationVersion("1")) }

func (l *lab) start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	return l.tracer().Start(ctx, name, opts...)
}

func (l *lab) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
}

// noteContext notes what the API tells about a span, recorded or not.
func (l *lab) noteContext(s trace.Span) {
	sc := s.SpanContext()
	l.note("%s-%s-%s %q remote=%v", sc.TraceID(), sc.SpanID(), sc.TraceFlags(), sc.TraceState(), sc.IsRemote())
}

// The lab is a processor of its own.
func (l *lab) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) {
	l.mu.Lock()
	l.started = append(l.started, tracetest.SpanStubFromReadOnlySpan(s))
	l.notes = append(l.notes, fmt.Sprintf("start %s recording=%v in %v", s.Name(), s.IsRecording(), trace.SpanContextFromContext(ctx).SpanID()))
	l.mu.Unlock()
	if l.onStart != nil {
		l.onStart(ctx, s)
	}
}

func (l *lab) OnEnd(s sdktrace.ReadOnlySpan) {
	l.mu.Lock()
	l.ended = append(l.ended, tracetest.SpanStubFromReadOnlySpan(s))
	l.notes = append(l.notes, "end "+s.Name())
	l.mu.Unlock()
	if l.onEnd != nil {
		l.onEnd(s)
	}
}

func (l *lab) Shutdown(context.Context) error   { l.note("processor shut down"); return nil }
func (l *lab) ForceFlush(context.Context) error { l.note("processor flushed"); return nil }

// program is a row of the corpus.
type program struct {
	name    string
	sampler func() sdktrace.Sampler
	limits  func(*sdktrace.SpanLimits)
	run     func(*lab)
	// loose: goroutines race for IDs, so spans are compared by name without them.
	loose bool
}

// run runs a program in a bubble of its own, where both kinds of provider see the same clock.
func (p program) runOn(t *testing.T, ours bool) (l *lab, exported tracetest.SpanStubs) {
	synctest.Test(t, func(t *testing.T) {
		limits := sdktrace.NewSpanLimits()
		if p.limits != nil {
			p.limits(&limits)
		}
		sampler := sdktrace.ParentBased(sdktrace.AlwaysSample())
		if p.sampler != nil {
			sampler = p.sampler()
		}
		mem := tracetest.NewInMemoryExporter()
		exporter := keeping{mem, &exported}
		l = &lab{t: t, ctx: context.Background()}
		res := resource.NewSchemaless(attribute.String("service.name", "lab"))
		if ours {
			tp := New(Settings{
				Sampler: sampler, IDs: new(counter), Limits: &limits, Resource: res, Late: Late{Budget: -1},
				Processors: []sdktrace.SpanProcessor{l}, Exporters: []Exporter{{Name: "memory", SpanExporter: exporter}},
			})
			l.tp, l.flush, l.stop = tp, tp.ForceFlush, tp.Shutdown
		} else {
			tp := sdktrace.NewTracerProvider(
				sdktrace.WithSampler(sampler), sdktrace.WithIDGenerator(new(counter)), sdktrace.WithRawSpanLimits(limits),
				sdktrace.WithResource(res), sdktrace.WithSpanProcessor(l), sdktrace.WithBatcher(exporter),
			)
			l.tp, l.flush, l.stop = tp, tp.ForceFlush, tp.Shutdown
		}
		p.run(l)
		if err := l.stop(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return l, exported
}

// keeping keeps what the in-memory exporter would forget at shutdown.
type keeping struct {
	*tracetest.InMemoryExporter
	all *tracetest.SpanStubs
}

func (k keeping) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	*k.all = append(*k.all, tracetest.SpanStubsFromReadOnlySpans(spans)...)
	return nil
}

func TestOurSpansArriveAsTheSDKsDo(t *testing.T) {
	for _, p := range corpus {
		t.Run(p.name, func(t *testing.T) {
			theirs, want := p.runOn(t, false)
			mine, got := p.runOn(t, true)
			if len(theirs.notes) == 0 {
				t.Fatal("the program does nothing")
			}
			if p.loose {
				for _, l := range []*lab{theirs, mine} {
					slices.Sort(l.notes)
				}
				sameSpans(t, "exported", loosen(want), loosen(got))
				return
			}
			if !slices.Equal(theirs.notes, mine.notes) {
				t.Errorf("notes differ\nthe SDK:\n\t%s\nours:\n\t%s", strings.Join(theirs.notes, "\n\t"), strings.Join(mine.notes, "\n\t"))
			}
			sameSpans(t, "exported", mended(want), got)
			sameSpans(t, "started", theirs.started, mine.started)
			sameSpans(t, "ended", theirs.ended, mine.ended)
		})
	}
}

// mended is the one difference that is meant: what the SDK hands to an exporter that will refuse it, ours mends.
func mended(spans tracetest.SpanStubs) tracetest.SpanStubs {
	for i := range spans {
		spans[i].Attributes = mendAttrs(spans[i].Attributes)
		spans[i].Events, spans[i].Links = slices.Clone(spans[i].Events), slices.Clone(spans[i].Links)
		for j, e := range spans[i].Events {
			spans[i].Events[j].Attributes = mendAttrs(e.Attributes)
		}
		for j, l := range spans[i].Links {
			spans[i].Links[j].Attributes = mendAttrs(l.Attributes)
		}
	}
	return spans
}

func loosen(spans tracetest.SpanStubs) tracetest.SpanStubs {
	for i := range spans {
		spans[i].SpanContext, spans[i].Parent = trace.SpanContext{}, trace.SpanContext{}
	}
	slices.SortFunc(spans, func(a, b tracetest.SpanStub) int { return strings.Compare(a.Name, b.Name) })
	return spans
}

func sameSpans(t *testing.T, what string, want, got tracetest.SpanStubs) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: the SDK %d spans, ours %d", what, len(want), len(got))
		return
	}
	for i := range want {
		w, g := flatten(want[i]), flatten(got[i])
		for j := range w {
			if w[j] != g[j] {
				t.Errorf("%s span %d (%s):\n\tthe SDK: %s\n\tours:    %s", what, i, want[i].Name, w[j], g[j])
			}
		}
	}
}

// flatten writes every field of a span as text, in an order of its own.
func flatten(s tracetest.SpanStub) []string {
	v := reflect.ValueOf(s)
	var out []string
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		switch f := v.Field(i).Interface().(type) {
		case time.Time:
			out = append(out, name+" "+f.Format(time.RFC3339Nano)+" "+f.Location().String())
		case trace.SpanContext:
			out = append(out, fmt.Sprintf("%s %s-%s-%s %q remote=%v", name, f.TraceID(), f.SpanID(), f.TraceFlags(), f.TraceState(), f.IsRemote()))
		case []attribute.KeyValue:
			out = append(out, name+" "+attrText(f))
		case []sdktrace.Event:
			for _, e := range f {
				out = append(out, fmt.Sprintf("%s %s at %s dropped %d %s", name, e.Name, e.Time.Format(time.RFC3339Nano), e.DroppedAttributeCount, attrText(e.Attributes)))
			}
			out = append(out, fmt.Sprint(name, " ", len(f)))
		case []sdktrace.Link:
			for _, l := range f {
				out = append(out, fmt.Sprintf("%s to %s-%s-%s %q dropped %d %s", name, l.SpanContext.TraceID(), l.SpanContext.SpanID(), l.SpanContext.TraceFlags(), l.SpanContext.TraceState(), l.DroppedAttributeCount, attrText(l.Attributes)))
			}
			out = append(out, fmt.Sprint(name, " ", len(f)))
		default:
			out = append(out, fmt.Sprintf("%s %+v", name, f))
		}
	}
	return append(out, strings.Repeat("", 64))
}

func attrText(attrs []attribute.KeyValue) string {
	var b strings.Builder
	for _, a := range attrs {
		text := fmt.Sprintf("%q", a.Value.String())
		if a.Key == exceptionStacktrace {
			text = "a stack of goroutine: " + fmt.Sprint(strings.HasPrefix(a.Value.AsString(), "goroutine ")) // it names the functions of the one or the other
		}
		fmt.Fprintf(&b, "%s(%v)=%s ", a.Key, a.Value.Type(), text)
	}
	return b.String()
}

type custom struct{ error }

// foreign is a span of somebody else's.
type foreign struct {
	noop.Span
	sc trace.SpanContext
}

func (f foreign) SpanContext() trace.SpanContext { return f.sc }

// tagging samples and adds what samplers may add.
type tagging struct{ decision sdktrace.SamplingDecision }

func (s tagging) ShouldSample(q sdktrace.SamplingParameters) sdktrace.SamplingResult {
	state, _ := trace.SpanContextFromContext(q.ParentContext).TraceState().Insert("lab", q.Name)
	return sdktrace.SamplingResult{Decision: s.decision, Tracestate: state, Attributes: []attribute.KeyValue{
		attribute.String("sampler.kind", q.Kind.String()), attribute.Int("sampler.attrs", len(q.Attributes)),
		attribute.Int("sampler.links", len(q.Links)), attribute.String("a", "of the sampler"),
		attribute.String("sampler.parent", trace.SpanContextFromContext(q.ParentContext).SpanID().String()),
	}}
}
func (tagging) Description() string { return "AlwaysOnSampler" } // a lie: it must still be asked

func remote(flags trace.TraceFlags, state string) context.Context {
	ts, err := trace.ParseTraceState(state)
	if err != nil {
		panic(err)
	}
	return trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1: 7, 15: 9}, SpanID: trace.SpanID{7: 3}, TraceFlags: flags, TraceState: ts,
	}))
}

// tree is a program that most samplers are run on.
func tree(l *lab) {
	for i, ctx := range []context.Context{
		context.Background(), remote(0, ""), remote(trace.FlagsSampled, "x=1"), remote(trace.FlagsSampled|trace.FlagsRandom, ""),
		remote(trace.FlagsRandom, "y=2,z=3"), trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(
			trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: 1})),
		trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(
			trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})),
		trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{5}, TraceFlags: 1})),
		trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{SpanID: trace.SpanID{5}, TraceFlags: 1})),
		trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceFlags: 3})),
	} {
		for j := range 4 {
			ctx, root := l.start(ctx, fmt.Sprint("root ", i, j), trace.WithAttributes(attribute.String("a", "start")), trace.WithSpanKind(trace.SpanKind(j)))
			l.noteContext(root)
			ctx, child := l.start(ctx, "child", trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(trace.Link{SpanContext: root.SpanContext()}))
			l.noteContext(child)
			_, leaf := l.start(ctx, "leaf")
			l.noteContext(leaf)
			leaf.End()
			child.End()
			root.End()
		}
	}
}

var corpus = []program{
	{name: "a parent and its children", run: tree},
	{name: "always on", sampler: sdktrace.AlwaysSample, run: tree},
	{name: "always off", sampler: sdktrace.NeverSample, run: tree},
	{name: "ratio zero", sampler: func() sdktrace.Sampler { return sdktrace.TraceIDRatioBased(0) }, run: tree},
	{name: "ratio one", sampler: func() sdktrace.Sampler { return sdktrace.TraceIDRatioBased(1) }, run: tree},
	{name: "ratio half", sampler: func() sdktrace.Sampler { return sdktrace.TraceIDRatioBased(0.5) }, run: tree},
	{name: "ratio half by parent", sampler: func() sdktrace.Sampler { return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.5)) }, run: tree},
	{name: "off by parent", sampler: func() sdktrace.Sampler { return sdktrace.ParentBased(sdktrace.NeverSample()) }, run: tree},
	{name: "by parent, each case of its own", sampler: func() sdktrace.Sampler {
		return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.3),
			sdktrace.WithRemoteParentSampled(sdktrace.TraceIDRatioBased(0.5)), sdktrace.WithRemoteParentNotSampled(sdktrace.AlwaysSample()),
			sdktrace.WithLocalParentSampled(sdktrace.NeverSample()), sdktrace.WithLocalParentNotSampled(sdktrace.TraceIDRatioBased(0.9)))
	}, run: tree},
	{name: "by parent by parent", sampler: func() sdktrace.Sampler {
		return sdktrace.ParentBased(sdktrace.ParentBased(sdktrace.AlwaysSample()))
	}, run: tree},
	{name: "record all, sample none", sampler: func() sdktrace.Sampler { return sdktrace.AlwaysRecord(sdktrace.NeverSample()) }, run: tree},
	{name: "record all by ratio", sampler: func() sdktrace.Sampler { return sdktrace.AlwaysRecord(sdktrace.TraceIDRatioBased(0.5)) }, run: tree},
	{name: "a sampler that adds attributes and state", sampler: func() sdktrace.Sampler { return tagging{sdktrace.RecordAndSample} }, run: tree},
	{name: "a sampler that adds and only records", sampler: func() sdktrace.Sampler { return tagging{sdktrace.RecordOnly} }, run: tree},
	{name: "a sampler that adds and drops", sampler: func() sdktrace.Sampler { return tagging{sdktrace.Drop} }, run: tree},
	{name: "a sampler that adds, by parent", sampler: func() sdktrace.Sampler { return sdktrace.ParentBased(tagging{sdktrace.RecordAndSample}) }, run: tree},

	{name: "a new root below a span", run: func(l *lab) {
		ctx, a := l.start(remote(1, "x=1"), "a")
		_, b := l.start(ctx, "b", trace.WithNewRoot(), trace.WithLinks(trace.LinkFromContext(ctx)))
		_, c := l.start(trace.ContextWithSpan(ctx, b), "c")
		for _, s := range []trace.Span{c, b, a} {
			l.noteContext(s)
			s.End()
		}
	}},
	{name: "children of an ended parent", run: func(l *lab) {
		ctx, a := l.start(l.ctx, "a")
		_, b := l.start(ctx, "b")
		a.End()
		_, c := l.start(ctx, "c")
		b.End()
		c.End()
		l.note("%v %v", a.IsRecording(), c.IsRecording())
	}},
	{name: "parents that end before their children", run: func(l *lab) {
		ctx, a := l.start(l.ctx, "a")
		ctx, b := l.start(ctx, "b")
		_, c := l.start(ctx, "c")
		a.End()
		time.Sleep(time.Second)
		b.End()
		time.Sleep(time.Second)
		c.End()
	}},
	{name: "a tracer of the span's own provider", run: func(l *lab) {
		ctx, a := l.start(l.ctx, "a")
		_, b := a.TracerProvider().Tracer("other", trace.WithSchemaURL("https://example.org/1")).Start(ctx, "b")
		b.End()
		a.End()
	}},
	{name: "a nil context", run: func(l *lab) {
		ctx, a := l.tracer().Start(noContext, "a")
		l.note("%v", ctx != nil)
		a.End()
	}},
	{name: "a foreign span in between", run: func(l *lab) {
		ctx, a := l.start(l.ctx, "a")
		b := foreign{sc: trace.NewSpanContext(trace.SpanContextConfig{TraceID: a.SpanContext().TraceID(), SpanID: trace.SpanID{8}, TraceFlags: 1})}
		_, c := l.start(trace.ContextWithSpan(ctx, b), "c")
		c.End()
		a.End()
	}},
	{name: "time given and time passing", run: func(l *lab) {
		_, a := l.start(l.ctx, "passing")
		time.Sleep(1234567 * time.Nanosecond)
		a.AddEvent("event")
		time.Sleep(time.Hour)
		a.End()
		at := time.Date(2020, 2, 3, 4, 5, 6, 7, time.UTC)
		_, b := l.start(l.ctx, "given", trace.WithTimestamp(at))
		b.AddEvent("event", trace.WithTimestamp(at.Add(time.Second)))
		b.End(trace.WithTimestamp(at.Add(time.Minute)))
		_, c := l.start(l.ctx, "backwards", trace.WithTimestamp(at))
		c.End(trace.WithTimestamp(at.Add(-time.Minute)))
		_, d := l.start(l.ctx, "start given", trace.WithTimestamp(at))
		d.End()
		_, e := l.start(l.ctx, "end given")
		e.End(trace.WithTimestamp(time.Date(9999, 1, 1, 0, 0, 0, 0, time.FixedZone("x", 3600))))
		_, f := l.start(l.ctx, "before all", trace.WithTimestamp(time.Time{}.Add(1)))
		f.End(trace.WithTimestamp(time.Time{}))
	}},
	{name: "kinds", run: func(l *lab) {
		for k := range trace.SpanKind(8) {
			_, s := l.start(l.ctx, fmt.Sprint(int(k)), trace.WithSpanKind(k))
			s.End()
		}
		_, s := l.start(l.ctx, "minus", trace.WithSpanKind(-1))
		s.End()
	}},
	{name: "scopes", run: func(l *lab) {
		nested := attribute.MapValue(attribute.Int("k", 1), attribute.Int("k", 2), attribute.Bool("b", true))
		for i, t := range []trace.Tracer{
			l.tp.Tracer(""), l.tp.Tracer("x"), l.tp.Tracer("x", trace.WithInstrumentationVersion("2"), trace.WithSchemaURL("u")),
			l.tp.Tracer("x", trace.WithInstrumentationAttributes(attribute.Int("n", 1), attribute.Int("n", 2), attribute.String("a", "b"))),
			l.tp.Tracer("x", trace.WithInstrumentationAttributes(attribute.KeyValue{Key: "map", Value: nested})),
		} {
			_, s := t.Start(l.ctx, fmt.Sprint(i))
			s.End()
		}
		l.note("same tracer: %v %v", l.tp.Tracer("x") == l.tp.Tracer("x"), l.tp.Tracer("x") == l.tp.Tracer("y"))
	}},
	{name: "status: which wins", run: func(l *lab) {
		set := []struct {
			code codes.Code
			text string
		}{{codes.Unset, "u"}, {codes.Error, "e1"}, {codes.Error, "e2"}, {codes.Ok, "o"}, {codes.Error, ""}, {codes.Unset, ""}}
		for i := range set {
			for j := range set {
				for k := range set {
					_, s := l.start(l.ctx, fmt.Sprint(i, j, k))
					s.SetStatus(set[i].code, set[i].text)
					s.SetStatus(set[j].code, set[j].text)
					s.SetStatus(set[k].code, set[k].text)
					s.End()
					s.SetStatus(codes.Ok, "too late")
				}
			}
		}
	}},
	{name: "everything after the end", run: func(l *lab) {
		_, s := l.start(l.ctx, "name", trace.WithAttributes(attribute.Int("a", 1)))
		s.SetName("renamed")
		time.Sleep(time.Second)
		s.End()
		time.Sleep(time.Second)
		s.SetName("late")
		s.SetAttributes(attribute.Int("a", 2), attribute.Int("b", 3))
		s.AddEvent("late")
		s.AddLink(trace.Link{SpanContext: s.SpanContext()})
		s.RecordError(io.EOF)
		s.SetStatus(codes.Error, "late")
		s.End(trace.WithTimestamp(time.Now().Add(time.Hour)))
		l.note("%v", s.IsRecording())
		ro := s.(sdktrace.ReadOnlySpan)
		l.note("%v", flatten(tracetest.SpanStubFromReadOnlySpan(ro)))
	}},
	{name: "reading a span that runs", run: func(l *lab) {
		ctx, s := l.start(remote(1, "x=1"), "live", trace.WithAttributes(attribute.Int("a", 1)), trace.WithSpanKind(trace.SpanKindServer))
		ro := s.(sdktrace.ReadOnlySpan)
		see := func() { l.note("%v", flatten(tracetest.SpanStubFromReadOnlySpan(ro))) }
		see()
		first := ro.Attributes()
		s.SetAttributes(attribute.Int("a", 2), attribute.Int("b", 1), attribute.Int("a", 3))
		l.note("handed out: %s", attrText(first))
		see()
		s.AddEvent("e", trace.WithAttributes(attribute.Int("x", 1)))
		s.AddLink(trace.Link{SpanContext: s.SpanContext()})
		s.SetStatus(codes.Error, "why")
		_, c := l.start(ctx, "child")
		see()
		c.End()
		s.End()
		see()
	}},
	{name: "attributes: the last value at the first place", run: func(l *lab) {
		_, s := l.start(l.ctx, "s", trace.WithAttributes(attribute.Int("a", 1), attribute.Int("b", 1), attribute.Int("a", 2)))
		s.SetAttributes(attribute.Int("c", 1), attribute.Int("b", 2))
		s.SetAttributes()
		s.SetAttributes(attribute.KeyValue{}, attribute.Int("", 1), attribute.KeyValue{Key: "empty"}, attribute.String("s", ""))
		s.End()
	}},
	{name: "attributes beyond the count", limits: func(s *sdktrace.SpanLimits) { s.AttributeCountLimit = 3 }, run: func(l *lab) {
		_, s := l.start(l.ctx, "start", trace.WithAttributes(attribute.Int("a", 1), attribute.Int("b", 1), attribute.Int("c", 1), attribute.Int("d", 1)))
		s.End()
		_, s = l.start(l.ctx, "set")
		s.SetAttributes(attribute.Int("a", 1), attribute.Int("a", 2))
		s.SetAttributes(attribute.Int("b", 1), attribute.Int("c", 1), attribute.KeyValue{}, attribute.Int("d", 1), attribute.Int("a", 3))
		s.SetAttributes(attribute.Int("e", 1), attribute.Int("c", 2))
		s.End()
	}},
	{name: "no attributes at all", limits: func(s *sdktrace.SpanLimits) {
		s.AttributeCountLimit, s.EventCountLimit, s.LinkCountLimit = 0, 0, 0
	}, run: func(l *lab) {
		_, s := l.start(l.ctx, "s", trace.WithAttributes(attribute.Int("a", 1)), trace.WithLinks(trace.Link{SpanContext: remoteContext()}))
		s.SetAttributes(attribute.Int("b", 1), attribute.Int("c", 1))
		s.AddEvent("e")
		s.End()
	}},
	{name: "no limits at all", limits: func(s *sdktrace.SpanLimits) {
		*s = sdktrace.SpanLimits{AttributeValueLengthLimit: -1, AttributeValueDepthLimit: -1, AttributeCountLimit: -1, EventCountLimit: -1, LinkCountLimit: -1, AttributePerEventCountLimit: -1, AttributePerLinkCountLimit: -1}
	}, run: func(l *lab) {
		_, s := l.start(l.ctx, "s")
		for i := range 130 {
			s.SetAttributes(attribute.Int(fmt.Sprint(i), i))
			s.AddEvent(fmt.Sprint(i), trace.WithAttributes(manyAttrs(130)...))
			s.AddLink(trace.Link{SpanContext: remoteContext(), Attributes: manyAttrs(130)})
		}
		s.End()
	}},
	{name: "more of everything than the defaults hold", run: func(l *lab) {
		_, s := l.start(l.ctx, "s", trace.WithAttributes(manyAttrs(200)...))
		for i := range 130 {
			s.SetAttributes(attribute.Int(fmt.Sprint("later", i), i))
			s.AddEvent(fmt.Sprint(i), trace.WithAttributes(manyAttrs(130)...))
			s.AddLink(trace.Link{SpanContext: remoteContext(), Attributes: manyAttrs(130)})
		}
		s.End()
	}},
	{name: "values of every kind, cut to length", limits: func(s *sdktrace.SpanLimits) { s.AttributeValueLengthLimit = 4 }, run: allKinds},
	{name: "values of every kind, cut to nothing", limits: func(s *sdktrace.SpanLimits) { s.AttributeValueLengthLimit = 0 }, run: allKinds},
	{name: "values of every kind", run: allKinds},
	{name: "values of every kind, flat", limits: func(s *sdktrace.SpanLimits) { s.AttributeValueDepthLimit = 1 }, run: allKinds},
	{name: "values of every kind, as deep as they like", limits: func(s *sdktrace.SpanLimits) { s.AttributeValueDepthLimit = -1 }, run: allKinds},
	{name: "events and links beyond their counts", limits: func(s *sdktrace.SpanLimits) {
		s.EventCountLimit, s.LinkCountLimit, s.AttributePerEventCountLimit, s.AttributePerLinkCountLimit = 2, 2, 1, 1
	}, run: func(l *lab) {
		_, s := l.start(l.ctx, "s", trace.WithLinks(
			trace.Link{SpanContext: remoteContext(), Attributes: manyAttrs(3)}, trace.Link{}, trace.Link{Attributes: manyAttrs(1)},
			trace.Link{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{3}})}))
		for i := range 5 {
			s.AddEvent(fmt.Sprint(i), trace.WithAttributes(manyAttrs(i)...))
			s.AddLink(trace.Link{SpanContext: remoteContext().WithSpanID(trace.SpanID{byte(i)}), Attributes: manyAttrs(i)})
		}
		s.End()
	}},
	{name: "no attributes on events and links", limits: func(s *sdktrace.SpanLimits) {
		s.AttributePerEventCountLimit, s.AttributePerLinkCountLimit = 0, 0
	}, run: func(l *lab) {
		_, s := l.start(l.ctx, "s")
		s.AddEvent("e", trace.WithAttributes(manyAttrs(2)...))
		s.AddLink(trace.Link{SpanContext: remoteContext(), Attributes: manyAttrs(2)})
		s.End()
	}},
	{name: "errors", run: func(l *lab) {
		_, s := l.start(l.ctx, "s")
		for _, err := range []error{nil, io.EOF, errors.New("x"), fmt.Errorf("wrapped: %w", io.EOF), custom{io.EOF}, &custom{io.EOF}, errors.Join(io.EOF, io.EOF)} {
			s.RecordError(err)
			s.RecordError(err, trace.WithAttributes(attribute.Int("n", 1)), trace.WithTimestamp(time.Unix(1, 2)))
		}
		s.RecordError(io.EOF, trace.WithStackTrace(true))
		s.End()
	}},
	{name: "panics", run: func(l *lab) {
		for _, v := range []any{"text", io.EOF, 7, custom{io.EOF}} {
			for _, opts := range [][]trace.SpanEndOption{nil, {trace.WithTimestamp(time.Unix(5, 0))}} {
				func() {
					defer func() { l.note("recovered %v", recover()) }()
					_, s := l.start(l.ctx, fmt.Sprint(v))
					defer s.End(opts...)
					panic(v)
				}()
			}
		}
		func() {
			defer func() { l.note("recovered %v", recover()) }()
			_, s := l.start(l.ctx, "with a stack")
			defer s.End(trace.WithStackTrace(true))
			panic("x")
		}()
		func() {
			_, s := l.start(l.ctx, "ended already")
			defer func() { l.note("recovered %v", recover()) }()
			defer s.End()
			s.End()
			panic("x")
		}()
		done := make(chan bool)
		go func() {
			defer close(done)
			_, s := l.start(l.ctx, "goexit")
			defer s.End()
			runtime.Goexit()
		}()
		<-done
	}},
	{name: "a processor that adds at the start", run: func(l *lab) {
		l.onStart = func(_ context.Context, s sdktrace.ReadWriteSpan) {
			s.SetAttributes(attribute.String("of", "processor"), attribute.Int("a", 2))
			s.SetName(s.Name() + "!")
			s.AddEvent("seen")
		}
		l.onEnd = func(s sdktrace.ReadOnlySpan) { l.note("%s %s", s.Name(), attrText(s.Attributes())) }
		ctx, s := l.start(l.ctx, "s", trace.WithAttributes(attribute.Int("a", 1), attribute.Int("b", 1)))
		_, c := l.start(ctx, "c")
		c.End()
		s.SetAttributes(attribute.String("of", "program"))
		s.End()
	}},
	{name: "a processor that ends the span at its start", run: func(l *lab) {
		l.onStart = func(_ context.Context, s sdktrace.ReadWriteSpan) { s.End() }
		_, s := l.start(l.ctx, "s")
		l.note("%v", s.IsRecording())
		s.End()
	}},
	{name: "flush, then more", run: func(l *lab) {
		_, s := l.start(l.ctx, "a")
		s.End()
		l.note("flush: %v", l.flush(l.ctx))
		_, s = l.start(l.ctx, "b")
		s.End()
	}},
	{name: "after shutdown", run: func(l *lab) {
		ctx, s := l.start(l.ctx, "a")
		late := l.tracer()
		_, c := l.start(ctx, "b")
		c.End()
		l.note("shutdown: %v %v", l.stop(l.ctx), l.stop(l.ctx))
		s.End()
		_, d := l.tp.Tracer("new").Start(ctx, "c")
		l.note("%v %v", d.SpanContext().SpanID() == s.SpanContext().SpanID(), d.IsRecording())
		_ = late
		d.End()
	}},
	{name: "children of many goroutines", loose: true, run: func(l *lab) {
		ctx, s := l.start(l.ctx, "parent")
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				ctx, c := l.start(ctx, fmt.Sprint("child ", i))
				c.SetAttributes(manyAttrs(i)...)
				s.SetAttributes(attribute.Int("a", 1))
				s.AddEvent("e")
				_, d := l.start(ctx, fmt.Sprint("grandchild ", i))
				d.End()
				c.End()
			})
		}
		wg.Wait()
		s.End()
	}},
	{name: "an end on another goroutine", run: func(l *lab) {
		_, s := l.start(l.ctx, "s")
		done := make(chan bool)
		go func() { s.SetAttributes(attribute.Int("a", 1)); s.End(); close(done) }()
		<-done
	}},
	{name: "slices that their owner changes afterwards", run: func(l *lab) {
		attrs := manyAttrs(4)
		_, s := l.start(l.ctx, "s", trace.WithAttributes(attrs...))
		s.SetAttributes(attrs...)
		attrs[0] = attribute.String("changed", "yes")
		s.End()
	}},
}

func remoteContext() trace.SpanContext { return trace.SpanContextFromContext(remote(1, "x=1")) }

func manyAttrs(n int) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, n)
	for i := range attrs {
		attrs[i] = attribute.Int(fmt.Sprint("k", i), i)
	}
	return attrs
}

func allKinds(l *lab) {
	deep := attribute.IntValue(1)
	for range 70 {
		deep = attribute.SliceValue(deep, attribute.MapValue(attribute.String("k", "long text"), attribute.String("k", "longer text")))
	}
	attrs := []attribute.KeyValue{
		attribute.Bool("bool", true), attribute.Int("int", 1), attribute.Float64("float", 1.5), attribute.String("string", "0123456789"),
		attribute.String("short", "abc"), attribute.String("utf8", "äöüßéè"), attribute.String("bad utf8", "a\xffbcdefgh\xfe"), attribute.String("bad short", "\xff"),
		attribute.BoolSlice("bools", []bool{true, false}), attribute.IntSlice("ints", []int{1, 2}), attribute.Float64Slice("floats", []float64{1, 2}),
		attribute.StringSlice("strings", []string{"a", "0123456789", "äöüßéè", "\xff"}), attribute.StringSlice("no strings", nil),
		{Key: "bytes", Value: attribute.ByteSliceValue([]byte("0123456789"))},
		{Key: "slice", Value: attribute.SliceValue(attribute.StringValue("0123456789"), attribute.IntValue(1))},
		{Key: "map", Value: attribute.MapValue(attribute.String("k", "0123456789"), attribute.String("k", "9876543210"), attribute.Int("n", 1))},
		{Key: "deep", Value: deep},
	}
	_, s := l.start(l.ctx, "start", trace.WithAttributes(attrs...))
	s.End()
	_, s = l.start(l.ctx, "set")
	for _, a := range attrs {
		s.SetAttributes(a)
	}
	s.AddEvent("event", trace.WithAttributes(attrs...))
	s.AddLink(trace.Link{SpanContext: remoteContext(), Attributes: attrs})
	s.End()
}

func TestTheHotPathSaysWhatTheSDKsSpanWould(t *testing.T) {
	run := func(t *testing.T, sdk bool, sampler sdktrace.Sampler) (exported tracetest.SpanStubs, headers []string) {
		synctest.Test(t, func(t *testing.T) {
			p := New(Settings{
				Sampler: sampler, IDs: new(counter), Late: Late{Budget: -1}, SDKSpans: sdk,
				Resource:  resource.NewSchemaless(attribute.String("service.name", "lab")),
				Exporters: []Exporter{{Name: "memory", SpanExporter: keeping{tracetest.NewInMemoryExporter(), &exported}}},
			})
			for i, h := range []http.Header{nil, withParent, {"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "Tracestate": {"a=1"}}} {
				s := &state{method: "GET"}
				p.Begin(&s.Span, context.Background(), Options{Name: "GET", Kind: trace.SpanKindServer, Remote: ParseTraceparent(h), Describer: s})
				time.Sleep(time.Second)
				s.SetAttributes(attribute.String("user", "a"), attribute.String("url.path", "/changed"))
				c := p.Start(&s.Span, Options{Name: "query", Kind: trace.SpanKindClient})
				_, d := p.Tracer("lib").Start(c, "below")
				d.End()
				out := http.Header{}
				c.Inject(out)
				headers = append(headers, fmt.Sprint(out))
				c.Finish(Outcome{Failed: i == 1})
				s.status = 200 + i
				s.SetName("GET /items/{id}")
				s.Finish(Outcome{End: s.StartTime().Add(time.Minute), Panicked: i == 2})
			}
			if err := p.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return exported, headers
	}
	for _, sampler := range []sdktrace.Sampler{sdktrace.AlwaysSample(), sdktrace.ParentBased(sdktrace.AlwaysSample()), tagging{sdktrace.RecordAndSample}} {
		want, theirs := run(t, true, sampler)
		got, mine := run(t, false, sampler)
		if len(want) == 0 {
			t.Fatal("nothing arrived")
		}
		sameSpans(t, "exported", want, got)
		if !slices.Equal(theirs, mine) {
			t.Errorf("headers differ\nthe SDK: %s\nours:    %s", theirs, mine)
		}
	}
}
