package span

import (
	"context"
	rt "runtime/trace"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
)

// Settings of a Provider. Zero fields take the SDK's defaults; durations and limits of Late take its own.
type Settings struct {
	Sampler    sdktrace.Sampler         // nil: ParentBased(AlwaysSample)
	IDs        sdktrace.IDGenerator     // nil: ChaCha8 of math/rand/v2
	Limits     *sdktrace.SpanLimits     // nil: OTEL_SPAN_*, else the SDK's defaults
	Resource   *resource.Resource       // nil: resource.Default()
	Processors []sdktrace.SpanProcessor // see OnStart and OnEnd of every span that is recorded by the sampler's word or kept late
	Exporters  []Exporter               // each behind a batch processor with exact accounts
	Late       Late
	OnEnd      func(*Span) // called for every ended span, sampled or refused, before it is handed on; nil: nothing
	Log        func(msg string, args ...any)
	Off        bool // nothing is recorded; contexts still carry the caller's trace
	SDKSpans   bool // the SDK's own spans instead of ours; no late sampling
}

// Provider makes spans and hands them to processors. It implements trace.TracerProvider. Its methods may be called
// concurrently. A nil *Provider begins spans that record nothing.
type Provider struct {
	embedded.TracerProvider

	sampler  sampler
	ids      sdktrace.IDGenerator
	limits   sdktrace.SpanLimits
	resource *resource.Resource
	onEnd    func(*Span)
	off      bool
	late     late
	families families
	recent   recent

	processors atomic.Pointer[[]sdktrace.SpanProcessor]
	pipelines  []*pipeline
	watching   bool // someone else than the pipelines sees spans start
	shut       atomic.Bool
	shutOnce   sync.Once
	shutErr    error

	model *sdktrace.TracerProvider // the SDK's own, to ask what it would do in rare cases
	sdk   *sdktrace.TracerProvider // makes the spans, under SDKSpans
	shell bool

	mu     sync.Mutex
	scopes map[instrumentation.Scope]*Scope
	own    *Scope
}

// Scope is a tracer: the instrumentation scope its spans carry. It implements trace.Tracer.
type Scope struct {
	sdktrace.ReadWriteSpan // an ended SDK span; see Span.ReadWriteSpan
	embedded.Tracer

	p   *Provider
	is  instrumentation.Scope
	sdk trace.Tracer // SDKSpans
}

// New makes a Provider. Shutdown frees what it holds.
func New(s Settings) *Provider {
	p := &Provider{onEnd: s.OnEnd, off: s.Off, ids: s.IDs, resource: s.Resource, shell: s.SDKSpans && !s.Off}
	if s.Sampler == nil {
		s.Sampler = sdktrace.ParentBased(sdktrace.AlwaysSample())
	}
	p.sampler = newSampler(s.Sampler)
	if p.resource == nil {
		p.resource = resource.Default()
	}
	if s.Limits != nil {
		p.limits = *s.Limits
	} else {
		p.limits = sdktrace.NewSpanLimits()
	}
	if p.limits.AttributeValueDepthLimit == 0 {
		p.limits.AttributeValueDepthLimit = sdktrace.DefaultAttributeValueDepthLimit
	}
	p.late.init(s.Late)
	p.families.init(p.late.Traces)
	p.recent.init()
	processors := append([]sdktrace.SpanProcessor(nil), s.Processors...)
	if !p.off {
		for _, e := range s.Exporters {
			l := newPipeline(e, s.Log)
			p.pipelines = append(p.pipelines, l)
			processors = append(processors, l)
		}
	}
	p.watching = len(s.Processors) > 0
	p.processors.Store(&processors)
	p.model = sdktrace.NewTracerProvider(sdktrace.WithRawSpanLimits(p.limits), sdktrace.WithResource(p.resource),
		sdktrace.WithSampler(sdktrace.AlwaysSample()))
	if p.shell {
		opts := []sdktrace.TracerProviderOption{
			sdktrace.WithRawSpanLimits(p.limits), sdktrace.WithResource(p.resource), sdktrace.WithSampler(s.Sampler),
		}
		for _, sp := range processors {
			opts = append(opts, sdktrace.WithSpanProcessor(sp))
		}
		if s.IDs != nil {
			opts = append(opts, sdktrace.WithIDGenerator(s.IDs))
		}
		p.sdk = sdktrace.NewTracerProvider(opts...)
	}
	p.scopes = make(map[instrumentation.Scope]*Scope)
	p.own = p.Scope("github.com/loadline-go/loadline")
	return p
}

// Tracer returns the tracer of an instrumentation scope. After Shutdown it returns one that does nothing.
func (p *Provider) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	if p == nil || p.off || p.shut.Load() {
		return noop.NewTracerProvider().Tracer(name, opts...)
	}
	return p.Scope(name, opts...)
}

// Scope is Tracer with its concrete type, for Options.Scope. It does not look at whether the provider is shut down.
func (p *Provider) Scope(name string, opts ...trace.TracerOption) *Scope {
	if name == "" {
		name = "go.opentelemetry.io/otel/sdk/tracer" // the SDK's word for no name
	}
	c := trace.NewTracerConfig(opts...)
	is := instrumentation.Scope{
		Name:       name,
		Version:    c.InstrumentationVersion(),
		SchemaURL:  c.SchemaURL(),
		Attributes: p.normalizeSet(c.InstrumentationAttributes()),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t, ok := p.scopes[is]; ok {
		return t
	}
	t := &Scope{p: p, is: is}
	if p.shell {
		t.sdk = p.sdk.Tracer(name, opts...)
	}
	// One ended SDK span per scope answers methods that a later SDK may add to its interfaces.
	_, neutral := p.model.Tracer(name, opts...).Start(context.Background(), "")
	neutral.End()
	t.ReadWriteSpan = neutral.(sdktrace.ReadWriteSpan)
	p.scopes[is] = t
	return t
}

// Options say what begins.
type Options struct {
	Name   string
	Kind   trace.SpanKind
	Start  time.Time         // zero: now
	Remote trace.SpanContext // the caller's, used when it is valid and the context holds no span
	Scope  *Scope            // nil: this module's
	// Describer makes the attributes when somebody reads them; nil: none.
	Describer Describer
}

// Describer makes the attributes of a span when they are needed: when a processor or sampler looks at the span while it
// starts, and when it is exported, which may be any time until the local root has ended. What it reads must therefore
// not change after Finish.
type Describer interface {
	// Describe appends to attrs and returns it: first (ended false) what is known when the span begins, then (ended
	// true) what is known when it has ended. No key may be appended twice over the two calls.
	Describe(attrs []attribute.KeyValue, ended bool) []attribute.KeyValue
}

// Outcome is what an edge knows at the end of a span.
type Outcome struct {
	End      time.Time // zero: now
	Failed   bool      // the status becomes Error unless it was set
	Panicked bool
	Stream   bool   // its duration says nothing: a WebSocket, server-sent events, a long poll
	Route    string // groups local roots for late sampling and recent traces; empty: the span's name
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
	newRoot := c != nil && c.NewRoot()
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
			s.extra().parentState = ours.more.state
		}
	case newRoot:
	default:
		if up != nil {
			far = up.SpanContext()
		}
		if !far.IsValid() && o.Remote.IsValid() {
			far = o.Remote.WithRemote(true)
		}
		s.adopt(far)
	}
	p.newIDs(s, parent)

	// Does the sampler want it?
	if ours == nil {
		s.mode |= modeRoot
	}
	decision, fast := p.sampler.decide(s, ours, far)
	var result sdktrace.SamplingResult
	if fast {
		if s.more != nil && s.more.parentState.Len() > 0 {
			s.more.state = s.more.parentState
			s.mode |= modeHasState
		}
	} else {
		result = p.ask(s, parent, far, newRoot, o, c)
		decision = result.Decision
		if result.Tracestate.Len() > 0 {
			s.extra().state = result.Tracestate
			s.mode |= modeHasState
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

	if c != nil || len(result.Attributes) > 0 {
		p.dress(s, result.Attributes, c)
	}
	if ours != nil {
		p.join(s, ours)
	}
	if rt.IsEnabled() {
		ctx, task := rt.NewTask(parent, o.Name)
		s.ctx = ctx
		s.extra().taskEnd = task.End
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
func (p *Provider) ask(s *Span, parent context.Context, far trace.SpanContext, newRoot bool, o *Options, c *trace.SpanConfig) sdktrace.SamplingResult {
	if newRoot {
		parent = trace.ContextWithSpanContext(parent, trace.SpanContext{})
	} else if far.IsValid() && far.IsRemote() {
		parent = trace.ContextWithSpanContext(parent, far)
	}
	q := sdktrace.SamplingParameters{ParentContext: parent, TraceID: s.traceID, Name: o.Name, Kind: o.Kind}
	if c != nil {
		q.Attributes, q.Links = c.Attributes(), c.Links()
	} else if o.Describer != nil {
		q.Attributes = o.Describer.Describe(nil, false)
	}
	return p.sampler.any.ShouldSample(q)
}

// dress adds the links and attributes that a span has from the start.
func (p *Provider) dress(s *Span, sampled []attribute.KeyValue, c *trace.SpanConfig) {
	if c != nil {
		for _, l := range c.Links() {
			s.AddLink(l)
		}
	}
	s.SetAttributes(sampled...)
	if c != nil {
		s.SetAttributes(c.Attributes()...)
	}
}

// beginOff makes s a context that carries the caller's trace and records nothing, as the API's no-op spans do.
func (p *Provider) beginOff(s *Span, up trace.Span, o *Options) {
	s.mode = modeOff | modeRoot
	var sc trace.SpanContext
	if up != nil {
		sc = up.SpanContext()
	}
	if !sc.IsValid() {
		sc = o.Remote
	}
	if !sc.IsValid() {
		return
	}
	s.traceID, s.id, s.flags = sc.TraceID(), sc.SpanID(), sc.TraceFlags()
	if sc.TraceState().Len() > 0 {
		s.extra().state = sc.TraceState()
		s.mode |= modeHasState
	}
}

// beginShell lets an SDK span do the work.
func (p *Provider) beginShell(s *Span, scope *Scope, parent context.Context, o *Options) {
	s.mode = modeShell | modeRoot
	if o.Remote.IsValid() && !trace.SpanContextFromContext(parent).IsValid() {
		parent = trace.ContextWithRemoteSpanContext(parent, o.Remote)
	}
	opts := []trace.SpanStartOption{trace.WithSpanKind(o.Kind), trace.WithTimestamp(s.start)}
	if o.Describer != nil {
		opts = append(opts, trace.WithAttributes(o.Describer.Describe(nil, false)...))
	}
	ctx, shell := scope.sdk.Start(parent, o.Name, opts...)
	sc := shell.SpanContext()
	s.ctx = ctx
	s.traceID, s.id, s.flags = sc.TraceID(), sc.SpanID(), sc.TraceFlags()
	m := s.extra()
	m.shell = shell
	if sc.TraceState().Len() > 0 {
		m.state = sc.TraceState()
		s.mode |= modeHasState
	}
	if sc.IsSampled() {
		s.mode |= modeSampled
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
