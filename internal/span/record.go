package span

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// KeepReason is the attribute of a local root that was exported though the sampler refused it. Its values are "panic",
// "error", "marked" and "slow".
const KeepReason = attribute.Key("observe.keep_reason")

// record is the copy of an ended span that processors and exporters get: nothing in it leads back to the span's context.
type record struct {
	sdktrace.ReadOnlySpan // the scope's ended SDK span; see Span.ReadWriteSpan

	scope         *Scope
	name          string
	start, end    time.Time
	own, parent   trace.SpanContext
	kind          trace.SpanKind
	status        sdktrace.Status
	kids          int
	attrs         []attribute.KeyValue
	droppedAttrs  int
	events        []sdktrace.Event
	droppedEvents int
	links         []sdktrace.Link
	droppedLinks  int
	described     bool // all attributes are a Describer's, whose text is UTF-8
}

func (r *record) Name() string                                  { return r.name }
func (r *record) SpanContext() trace.SpanContext                { return r.own }
func (r *record) Parent() trace.SpanContext                     { return r.parent }
func (r *record) SpanKind() trace.SpanKind                      { return r.kind }
func (r *record) StartTime() time.Time                          { return r.start }
func (r *record) EndTime() time.Time                            { return r.end }
func (r *record) Attributes() []attribute.KeyValue              { return r.attrs }
func (r *record) Events() []sdktrace.Event                      { return r.events }
func (r *record) Links() []sdktrace.Link                        { return r.links }
func (r *record) Status() sdktrace.Status                       { return r.status }
func (r *record) ChildSpanCount() int                           { return r.kids }
func (r *record) DroppedAttributes() int                        { return r.droppedAttrs }
func (r *record) DroppedEvents() int                            { return r.droppedEvents }
func (r *record) DroppedLinks() int                             { return r.droppedLinks }
func (r *record) Resource() *resource.Resource                  { return r.scope.p.resource }
func (r *record) InstrumentationScope() instrumentation.Scope   { return r.scope.is }
func (r *record) InstrumentationLibrary() instrumentation.Scope { return r.scope.is }

// inlineAttrs is how many attributes fit into the allocation of the record itself: a server span of the conventions has
// nine to twelve.
const inlineAttrs = 12

// record copies an ended span. A reason says that it is kept late: the copy is marked sampled, because processors and
// exporters skip what is not, while what was propagated stays as it was.
func (s *Span) record(reason string, late bool) *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r *record
	var buf []attribute.KeyValue
	if s.descr == nil && reason == "" {
		r = new(record)
	} else {
		wide := new(struct {
			record
			buf [inlineAttrs]attribute.KeyValue
		})
		r, buf = &wide.record, wide.buf[:0]
	}
	scope := s.scope()
	r.ReadOnlySpan = scope.ReadWriteSpan
	r.scope = scope
	r.name = s.name
	r.start, r.end = s.start, s.endLocked()
	flags := s.flags
	if late {
		flags |= trace.FlagsSampled
	}
	r.own = trace.NewSpanContext(trace.SpanContextConfig{TraceID: s.traceID, SpanID: s.id, TraceFlags: flags, TraceState: s.traceState()})
	r.parent = s.parentLocked()
	r.kind = trace.SpanKind(s.kind)
	r.status = s.statusLocked()
	r.kids = int(s.kids.Load())
	if m := s.more; m != nil {
		// Nothing is added after the end. The SDK tells what was dropped only beside what was kept; so do we.
		if len(m.events) > 0 {
			r.events, r.droppedEvents = m.events, m.droppedEvents
		}
		if len(m.links) > 0 {
			r.links, r.droppedLinks = m.links, m.droppedLinks
		}
	}
	s.gather(r, buf, reason)
	r.attrs = scope.p.redactor.attributes(r.attrs)
	return r
}

// gather collects the attributes: the describer's first, those set since, the describer's last, the reason.
func (s *Span) gather(r *record, buf []attribute.KeyValue, reason string) {
	p := s.scope().p
	if s.descr == nil && reason == "" {
		if m := s.more; m != nil {
			r.attrs, r.droppedAttrs = m.handOut(), m.droppedAttrs
		}
		return
	}
	m := more{attrs: buf}
	add := func(attrs []attribute.KeyValue) { m.add(p, attrs) }
	if s.descr != nil && !s.described {
		m.attrs = s.descr.Describe(m.attrs, false)
	}
	own := s.more != nil && len(s.more.attrs) > 0
	r.described = s.descr != nil && !own
	if own {
		add(s.more.attrs)
	}
	if s.descr != nil && s.ended {
		m.attrs = s.descr.Describe(m.attrs, true)
	}
	if reason != "" {
		m.attrs = append(m.attrs, KeepReason.String(reason))
	}
	if own && repeats(m.attrs) {
		m.dedupe()
	}
	// The describers' attributes are few, valid and unique; they fall under the limits only when a user set them low.
	if l := p.limits; l.AttributeValueLengthLimit >= 0 || l.AttributeCountLimit >= 0 && len(m.attrs) > l.AttributeCountLimit {
		all := m.attrs
		m.attrs = nil
		add(all)
	}
	r.attrs, r.droppedAttrs = m.attrs, m.droppedAttrs
	if s.more != nil {
		r.droppedAttrs += s.more.droppedAttrs
	}
}

// emit hands an ended span to the processors. late: the sampler refused it and it is kept after all.
func (p *Provider) emit(s *Span, reason string, late bool) {
	processors := *p.processors.Load()
	if len(processors) == 0 {
		return
	}
	if sampled := late || s.mode&modeSampled != 0; sampled && !p.watching && len(p.pipelines) == 1 && p.pipelines[0].declines() {
		return
	}
	r := s.record(reason, late)
	if !late {
		for _, sp := range processors {
			sp.OnEnd(r)
		}
		return
	}
	if s.mode&modeSeen == 0 && p.watching {
		// Users' processors count starts and ends: a span they see end must have been seen to start.
		w := &lateStart{Span: s, record: r}
		for _, sp := range processors {
			if _, ours := sp.(*pipeline); !ours {
				sp.OnStart(s.ctx, w)
			}
		}
		w.seal()
	}
	for _, sp := range processors {
		if _, ours := sp.(*pipeline); ours || s.mode&modeSeen == 0 {
			sp.OnEnd(r)
		}
	}
}
