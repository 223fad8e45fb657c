package span

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

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
	Redactor   Redactor // for the URLs among the attributes of exported spans
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
	onStart  func(*Span) bool
	onEnd    func(*Span) Wait
	onWait   func(*Span) Wait
	redactor Redactor
	off      bool
	late     late
	families families
	recent   recent
	crowd    int // see Crowd; -2: none
	onCrowd  func(*Span, *Tally)

	processors atomic.Pointer[[]sdktrace.SpanProcessor]
	pipelines  []*pipeline
	idle       []Exporter // of a provider that is off: only shut down
	watching   bool       // someone else than the pipelines sees spans start
	roomy      bool       // the limits hold whatever an edge describes
	usual      bool       // nothing is configured that BeginIncoming does not know
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

	p     *Provider
	is    instrumentation.Scope
	sound bool         // is is UTF-8
	sdk   trace.Tracer // SDKSpans
}

// New makes a Provider. Shutdown frees what it holds.
func New(s Settings) *Provider {
	p := &Provider{redactor: s.Redactor, off: s.Off, ids: s.IDs, resource: s.Resource, shell: s.SDKSpans && !s.Off, crowd: -2}
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
	p.roomy = p.limits.AttributeValueLengthLimit < 0 && (p.limits.AttributeCountLimit < 0 || p.limits.AttributeCountLimit >= maxFacts)
	p.late.init(s.Late)
	p.families.init(p.late.Traces)
	processors := append([]sdktrace.SpanProcessor(nil), s.Processors...)
	for _, e := range s.Exporters {
		if p.off {
			p.idle = append(p.idle, e)
		} else {
			l := newPipeline(e, s.Log)
			p.pipelines = append(p.pipelines, l)
			processors = append(processors, l)
		}
	}
	p.watching = len(s.Processors) > 0
	p.usual = !p.off && !p.shell && !p.watching && p.ids == nil && p.sampler.plain.known
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

// OnEnd has f called for every ended span without a Describer, sampled or refused, on the goroutine that ends it and before
// the span is handed on; what it returns is whom the span waited for. It must be called before the first span begins.
func (p *Provider) OnEnd(f func(*Span) Wait) { p.onEnd = f }

// OnWait has f called for every client and producer span with a Describer that ends below a local root, like OnEnd.
func (p *Provider) OnWait(f func(*Span) Wait) { p.onWait = f }

// OnSlow has f called for every ended local root that was slow, as Late defines it, sampled or refused, on the goroutine that
// ends it. It must be called before the first span begins, and f must not block.
func (p *Provider) OnSlow(f func(root *Span, route string, took time.Duration)) { p.late.onSlow = f }

// OnStart has f called for every server span that a Tracer starts, with the attributes it starts with. Whether f returned
// true is what Span.Noted tells. It must be called before the first span begins.
func (p *Provider) OnStart(f func(*Span) bool) { p.onStart = f }

// Tracer returns the tracer of an instrumentation scope. After Shutdown it returns one that does nothing.
func (p *Provider) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	if p == nil || p.off || p.shut.Load() {
		return noop.NewTracerProvider().Tracer(name, opts...)
	}
	return p.Scope(name, opts...)
}

// maxScopes are kept; a name made from data gets a scope of its own each time, which the collector takes back.
const maxScopes = 1000

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
	t := &Scope{p: p, is: is, sound: soundScope(is)}
	if p.shell {
		t.sdk = p.sdk.Tracer(name, opts...)
	}
	// One ended SDK span per scope answers methods that a later SDK may add to its interfaces.
	_, neutral := p.model.Tracer(name, opts...).Start(context.Background(), "")
	neutral.End()
	t.ReadWriteSpan = neutral.(sdktrace.ReadWriteSpan)
	if len(p.scopes) < maxScopes {
		p.scopes[is] = t
	}
	return t
}
