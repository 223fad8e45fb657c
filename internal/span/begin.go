package span

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	rt "runtime/trace"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Options say what begins.
type Options struct {
	Name   string
	Kind   trace.SpanKind
	Start  time.Time         // zero: now
	Remote trace.SpanContext // the caller's, used when it is valid and the context holds no span
	Header http.Header       // where the caller's is read from instead when Remote is not valid; nil: nowhere
	Scope  *Scope            // nil: this module's
	// Describer makes the attributes when somebody reads them; nil: none.
	Describer Describer
	Lone      Lone // what Provider.Lone said of it; zero: it was not asked

	newRoot bool // begins a trace of its own: see BeginLinked
}

// Describer makes the attributes of a span when they are needed: when a processor or sampler looks at the span while it
// starts, and when it is exported, which may be any time until the local root has ended. What it reads must therefore
// not change after Finish.
type Describer interface {
	// Describe appends to attrs and returns it: what is known when the span begins (ended false), and what is known when
	// it has ended (ended true, called only then). No key may be appended by both. It may be called more than once, and
	// the first kind of call also while the span runs, on another goroutine. Texts must be UTF-8.
	Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue
}

// Outcome is what an edge knows at the end of a span.
type Outcome struct {
	End      time.Time     // zero: now, or the start and Took
	Took     time.Duration // in place of End, for who has measured it by the start; zero: by End
	Name     string        // the span's name from here on; empty: as it is
	Failed   bool          // the status becomes Error unless it was set
	Panicked bool
	Stream   bool     // its duration says nothing: a WebSocket, server-sent events, a long poll
	Job      bool     // its duration is judged by those of its route alone: a job may take minutes
	Route    string   // groups local roots for late sampling and recent traces; empty: the span's name
	Detacher Detacher // of the Describer; nil: it has none
	Pace     *Pace    // of Route, from Provider.Pace, which spares a look-up; nil: looked up
}

// Begin begins s, whose memory is the caller's, as a child of the current span of parent. It makes s the context to hand
// on. A nil Provider and one that is off make a context that records nothing.
func (p *Provider) Begin(s *Span, parent context.Context, o Options) {
	if p == nil {
		p = offProvider()
	}
	scope := o.Scope
	if scope == nil {
		scope = p.own
	}
	p.begin(s, scope, parent, current(parent), &o, nil)
}

// Start is Begin with memory of its own: carved from the trace's when it has a local parent.
func (p *Provider) Start(parent context.Context, o Options) *Span {
	if p == nil {
		p = offProvider()
	}
	scope := o.Scope
	if scope == nil {
		scope = p.own
	}
	up := current(parent)
	s := p.carve(up, false)
	p.begin(s, scope, parent, up, &o, nil)
	return s
}

var offProvider = sync.OnceValue(func() *Provider { return New(Settings{Off: true}) })

// current returns the current span of ctx, or nil.
func current(ctx context.Context) trace.Span {
	if ctx == nil {
		return nil
	}
	if s, ok := ctx.(*Span); ok && s.mode&modeShell == 0 {
		return s
	}
	s, _ := ctx.Value(currentSpanKey).(trace.Span)
	return s
}

// Start begins a span for any instrumentation library.
func (t *Scope) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t.sdk != nil {
		return t.sdk.Start(ctx, name, opts...)
	}
	c := trace.NewSpanStartConfig(opts...)
	if ctx == nil {
		ctx = context.Background()
	}
	if t.p.shut.Load() {
		return noop.NewTracerProvider().Tracer("").Start(ctx, name, opts...)
	}
	up := current(ctx)
	s := t.p.carve(up, c.NewRoot())
	t.p.begin(s, t, ctx, up, &Options{Name: name, Kind: c.SpanKind(), Start: c.Timestamp()}, &c)
	if s.kind == uint8(trace.SpanKindServer) && t.p.onStart != nil && s.mode&modeOff == 0 && t.p.onStart(s) {
		s.marks.Or(markNoted)
	}
	return s, s
}

// begin is the one way a span begins. c holds the options of a Tracer's Start, nil on the hot path.
func (p *Provider) begin(s *Span, scope *Scope, parent context.Context, up trace.Span, o *Options, c *trace.SpanConfig) {
	if parent == nil {
		parent = context.Background()
	}
	s.ReadWriteSpan = scope
	s.ctx = parent
	s.name = o.Name
	s.kind = uint8(trace.ValidateSpanKind(o.Kind))
	s.start = o.Start
	s.descr = o.Describer
	if s.start.IsZero() {
		s.start = time.Now()
	}
	if p.shell {
		p.beginShell(s, scope, parent, o)
		return
	}
	if p.off {
		p.beginOff(s, up, o)
		return
	}

	ours, _ := up.(*Span)
	if ours != nil && ours.mode&modeOff == 0 && !ours.Ended() {
		ours.kids.Add(1)
	}
	newRoot := o.newRoot || c != nil && c.NewRoot()
	if newRoot {
		up, ours = nil, nil
	}
	if ours != nil && (ours.mode&modeOff != 0 || ours.scope().p != p) {
		ours = nil
	}

	// Whose child is it?
	var far trace.SpanContext // a parent that is not a span of this provider
	switch {
	case ours != nil:
		s.traceID, s.parentID, s.parentFlags = ours.traceID, ours.id, ours.flags
		if ours.mode&modeHasState != 0 {
			s.extra().parentState, s.more.rawState = ours.more.state, ours.more.rawState
		}
	case newRoot:
	case o.Lone.id.IsValid():
		s.traceID = o.Lone.id
		binary.NativeEndian.PutUint64(s.traceID[:8], rand.Uint64()) // what the sampler does not look at
	case up == nil && o.Header == nil && !o.Remote.HasTraceID(): // nobody's
	default:
		if up != nil {
			far = up.SpanContext()
			if r, ok := up.(*caller); ok && r.raw != "" {
				s.extra().rawState = r.raw
			}
		}
		if !far.IsValid() {
			far = s.caller(far, o)
		}
		s.adopt(far)
	}
	p.newIDs(s, parent)

	// Does the sampler want it?
	if ours == nil {
		s.mode |= modeRoot
	}
	decision, fast := p.sampler.decide(s, ours, far)
	if fast {
		if s.more != nil && (s.more.parentState.Len() > 0 || s.more.rawState != "") {
			s.more.state = s.more.parentState
			s.mode |= modeHasState
		}
	} else {
		var first []attribute.KeyValue
		if c != nil {
			first = c.Attributes()
		} else if o.Describer != nil {
			first = o.Describer.Describe(nil, false)
			s.described = true
		}
		result := p.ask(s, parent, far, newRoot, o, c, first)
		decision = result.Decision
		if result.Tracestate.Len() > 0 || s.more != nil && s.more.rawState != "" {
			s.extra().state = result.Tracestate
			s.mode |= modeHasState
		}
		s.SetAttributes(result.Attributes...)
		if c == nil {
			s.SetAttributes(first...)
		}
	}
	s.flags = s.parentFlags &^ trace.FlagsSampled
	switch decision {
	case sdktrace.RecordAndSample:
		s.flags |= trace.FlagsSampled
		s.mode |= modeSampled | modeSeen
	case sdktrace.RecordOnly:
		s.mode |= modeSeen
	}

	if c != nil {
		for _, l := range c.Links() {
			s.AddLink(l)
		}
		s.SetAttributes(c.Attributes()...)
	}
	if rt.IsEnabled() {
		ctx, task := rt.NewTask(parent, o.Name)
		s.ctx = ctx
		s.extra().task = task
		rt.Log(ctx, "trace_id", s.traceID.String())
	}
	// From here on others may see the span.
	if ours != nil {
		p.join(s, ours)
	} else if f := s.family.Load(); f != nil {
		p.families.add(f)
	}
	if p.watching && s.mode&modeSeen != 0 {
		s.mu.Lock()
		s.describeLocked()
		s.mu.Unlock()
		for _, sp := range *p.processors.Load() {
			sp.OnStart(parent, s)
		}
	}
}

// caller returns who called, when the context holds no valid span: by the options, or else far as it is.
func (s *Span) caller(far trace.SpanContext, o *Options) trace.SpanContext {
	if o.Remote.IsValid() {
		return o.Remote.WithRemote(true)
	}
	if o.Header != nil {
		if c, ok := traceparentOf(o.Header); ok {
			if states := o.Header[tracestateKey]; len(states) > 0 {
				s.readState(&c, readTracestate(states))
			}
			return trace.NewSpanContext(c)
		}
	}
	return far
}

// readState puts a state where there is room for it.
func (s *Span) readState(c *trace.SpanContextConfig, text string) {
	var err error
	if c.TraceState, err = trace.ParseTraceState(text); err != nil {
		s.extra().rawState = text
	}
}

// adopt takes a parent that is not a span of this provider.
func (s *Span) adopt(far trace.SpanContext) {
	if !far.TraceID().IsValid() && !far.SpanID().IsValid() && far.TraceFlags() == 0 {
		return
	}
	s.traceID, s.parentID, s.parentFlags = far.TraceID(), far.SpanID(), far.TraceFlags()
	if far.IsRemote() {
		s.mode |= modeRemoteParent
	}
	if far.TraceState().Len() > 0 {
		s.extra().parentState = far.TraceState()
	}
	if !far.IsValid() {
		odd := far // a copy, so that only this case allocates
		s.extra().parent = &odd
	}
}

// ask puts the full question to a sampler that is not one of the SDK's plain ones.
func (p *Provider) ask(s *Span, parent context.Context, far trace.SpanContext, newRoot bool, o *Options, c *trace.SpanConfig, attrs []attribute.KeyValue) sdktrace.SamplingResult {
	if newRoot {
		parent = trace.ContextWithSpanContext(parent, trace.SpanContext{})
	} else if far.IsValid() && far.IsRemote() {
		parent = trace.ContextWithSpanContext(parent, far)
	}
	q := sdktrace.SamplingParameters{ParentContext: parent, TraceID: s.traceID, Name: o.Name, Kind: o.Kind, Attributes: attrs}
	if c != nil {
		q.Links = c.Links()
	}
	if o.newRoot {
		for _, l := range s.more.links {
			q.Links = append(q.Links, trace.Link{SpanContext: l.SpanContext})
		}
	}
	return p.sampler.any.ShouldSample(q)
}

// beginOff makes s a context that carries the caller's trace and records nothing, as the API's no-op spans do.
func (p *Provider) beginOff(s *Span, up trace.Span, o *Options) {
	s.mode = modeOff | modeRoot
	var sc trace.SpanContext
	if up != nil {
		sc = up.SpanContext()
	}
	if !sc.IsValid() {
		sc = s.caller(sc, o)
	} else if r, ok := up.(*caller); ok && r.raw != "" {
		s.extra().rawState = r.raw
	} else if ours, ok := up.(*Span); ok && ours.mode&modeHasState != 0 {
		s.extra().rawState = ours.more.rawState
	}
	if !sc.IsValid() {
		return
	}
	s.traceID, s.id, s.flags = sc.TraceID(), sc.SpanID(), sc.TraceFlags()
	if sc.TraceState().Len() > 0 || s.more != nil && s.more.rawState != "" {
		s.extra().state = sc.TraceState()
		s.mode |= modeHasState
	}
}

// describeLocked adds the describer's first attributes ahead of those set since.
func (s *Span) describeLocked() {
	if s.descr == nil || s.described || s.mode&modeShell != 0 {
		return
	}
	s.described = true
	first := s.descr.Describe(nil, false)
	m := s.extra()
	set := m.attrs
	m.attrs, m.shared = nil, false
	m.add(s.scope().p, first)
	if len(set) > 0 {
		m.add(s.scope().p, set)
	}
}
