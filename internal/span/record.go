package span

import (
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
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
	copied

	made atomic.Pointer[made] // the attributes that facts make, when somebody asked
}

// copied is what a record has from its span.
type copied struct {
	scope       *Scope
	name        string
	start       time.Time
	took        time.Duration
	traceID     trace.TraceID
	id          trace.SpanID
	parentID    trace.SpanID
	kids        int32
	kind        uint8
	flags       trace.TraceFlags
	parentFlags trace.TraceFlags
	mode        mode
	status      uint8
	ended       bool
	described   bool  // all attributes are a Describer's, whose text is UTF-8
	rest        *rest // nil: none of it
	facts       Facts
}

// rest is what the record of a request without events or attributes of its own does not have.
type rest struct {
	attrs         []attribute.KeyValue
	droppedAttrs  int
	events        []sdktrace.Event
	droppedEvents int
	links         []sdktrace.Link
	droppedLinks  int
	description   string // of the status
	state         trace.TraceState
	parentState   trace.TraceState
	parent        *trace.SpanContext
	end           time.Time
}

// Facts are what a Detacher leaves behind of what it describes, to be put into words when an exporter asks: most of what
// a sampled request costs would be its attributes otherwise.
type Facts struct {
	By    FactsDescriber // nil: there are none
	Texts [6]string
	Bits  uint64
}

// A FactsDescriber makes attributes of facts, with the promises that Describer makes. It must not depend on anything but
// them that changes.
type FactsDescriber interface {
	DescribeFacts(f *Facts, attrs []attribute.KeyValue) []attribute.KeyValue
}

// A Detacher is a Describer that can say in facts what it describes of an ended span, first and last attributes alike. It
// reports false when it cannot. What it leaves must not keep a request or a connection alive, nor more than a few
// kilobytes. Who gives one to Finish gives the span a Name, in UTF-8, too.
type Detacher interface {
	Detach(f *Facts) bool
}

// made are attributes with their memory.
type made struct {
	attrs []attribute.KeyValue
	buf   [inlineAttrs]attribute.KeyValue
}

func (r *record) Name() string                                  { return r.name }
func (r *record) SpanKind() trace.SpanKind                      { return trace.SpanKind(r.kind) }
func (r *record) StartTime() time.Time                          { return r.start }
func (r *record) ChildSpanCount() int                           { return int(r.kids) }
func (r *record) Resource() *resource.Resource                  { return r.scope.p.resource }
func (r *record) InstrumentationScope() instrumentation.Scope   { return r.scope.is }
func (r *record) InstrumentationLibrary() instrumentation.Scope { return r.scope.is }

func (r *record) EndTime() time.Time {
	switch {
	case !r.ended:
		return time.Time{}
	case r.rest != nil && !r.rest.end.IsZero():
		return r.rest.end
	}
	return r.start.Add(r.took)
}

func (r *record) SpanContext() trace.SpanContext {
	c := trace.SpanContextConfig{TraceID: r.traceID, SpanID: r.id, TraceFlags: r.flags}
	if r.rest != nil {
		c.TraceState = r.rest.state
	}
	return trace.NewSpanContext(c)
}

func (r *record) Parent() trace.SpanContext {
	if r.rest != nil && r.rest.parent != nil {
		return *r.rest.parent
	}
	if !r.parentID.IsValid() {
		return trace.SpanContext{}
	}
	c := trace.SpanContextConfig{TraceID: r.traceID, SpanID: r.parentID, TraceFlags: r.parentFlags, Remote: r.mode&modeRemoteParent != 0}
	if r.rest != nil {
		c.TraceState = r.rest.parentState
	}
	return trace.NewSpanContext(c)
}

func (r *record) Status() sdktrace.Status {
	st := sdktrace.Status{Code: codes.Code(r.status)}
	if r.rest != nil {
		st.Description = r.rest.description
	}
	return st
}

func (r *record) Attributes() []attribute.KeyValue {
	if r.facts.By == nil {
		if r.rest == nil {
			return nil
		}
		return r.rest.attrs
	}
	if m := r.made.Load(); m != nil {
		return m.attrs
	}
	m := new(made)
	m.attrs = r.scope.p.redactor.attributes(r.facts.By.DescribeFacts(&r.facts, m.buf[:0]))
	r.made.CompareAndSwap(nil, m) // another goroutine made the same
	return r.made.Load().attrs
}

func (r *record) Events() []sdktrace.Event {
	if r.rest == nil {
		return nil
	}
	return r.rest.events
}

func (r *record) Links() []sdktrace.Link {
	if r.rest == nil {
		return nil
	}
	return r.rest.links
}

func (r *record) DroppedAttributes() int {
	if r.rest == nil {
		return 0
	}
	return r.rest.droppedAttrs
}

func (r *record) DroppedEvents() int {
	if r.rest == nil {
		return 0
	}
	return r.rest.droppedEvents
}

func (r *record) DroppedLinks() int {
	if r.rest == nil {
		return 0
	}
	return r.rest.droppedLinks
}

// inlineAttrs is how many attributes fit into the allocation of the record itself: a server span of the conventions has
// nine to twelve.
const inlineAttrs = 12

// maxFacts is the most attributes that facts may make: below it, no limit is looked at.
const maxFacts = 16

// record copies an ended span. A reason says that it is kept late: the copy is marked sampled, because processors and
// exporters skip what is not, while what was propagated stays as it was. A detacher, when there is one, is the span's
// describer.
func (s *Span) record(reason string, late bool, d Detacher) *record {
	p := s.scope().p
	s.mu.Lock()
	if d != nil && reason == "" && s.more == nil && s.ended && p.roomy {
		r := new(record)
		s.copyTo(r, late)
		s.mu.Unlock()
		if d.Detach(&r.facts) {
			return r
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	var r *record
	var buf []attribute.KeyValue
	switch {
	case s.descr != nil || reason != "":
		wide := new(struct {
			record
			rest
			buf [inlineAttrs]attribute.KeyValue
		})
		r, buf = &wide.record, wide.buf[:0]
		r.rest = &wide.rest
	case s.more != nil:
		two := new(struct {
			record
			rest
		})
		r = &two.record
		r.rest = &two.rest
	default:
		r = new(record)
	}
	s.copyTo(r, late)
	if m := s.more; m != nil {
		// Nothing is added after the end. The SDK tells what was dropped only beside what was kept; so do we.
		if len(m.events) > 0 {
			r.rest.events, r.rest.droppedEvents = m.events, m.droppedEvents
		}
		if len(m.links) > 0 {
			r.rest.links, r.rest.droppedLinks = m.links, m.droppedLinks
		}
		r.rest.description, r.rest.end = m.description, m.end
		r.rest.state, r.rest.parentState, r.rest.parent = s.traceState(), m.parentState, m.parent
	}
	if r.rest != nil {
		s.gather(r, buf, reason)
		r.rest.attrs = p.redactor.attributes(r.rest.attrs)
	}
	return r
}

// copyTo copies what every span has.
func (s *Span) copyTo(r *record, late bool) {
	r.scope = s.scope()
	r.ReadOnlySpan = r.scope // s.ReadWriteSpan, without asking the runtime for its methods
	r.name = s.name
	r.start, r.took, r.ended = s.start, s.took, s.ended
	r.traceID, r.id, r.parentID = s.traceID, s.id, s.parentID
	r.flags, r.parentFlags, r.mode = s.flags, s.parentFlags, s.mode
	if late {
		r.flags |= trace.FlagsSampled
	}
	r.kind, r.status = s.kind, s.status
	r.kids = s.kids.Load()
}

// gather collects the attributes: the describer's first, those set since, the describer's last, the reason.
func (s *Span) gather(r *record, buf []attribute.KeyValue, reason string) {
	p := s.scope().p
	if s.descr == nil && reason == "" {
		if m := s.more; m != nil {
			r.rest.attrs, r.rest.droppedAttrs = m.handOut(), m.droppedAttrs
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
	r.rest.attrs, r.rest.droppedAttrs = m.attrs, m.droppedAttrs
	if s.more != nil {
		r.rest.droppedAttrs += s.more.droppedAttrs
	}
}

// emit hands an ended span to the processors. late: the sampler refused it and it is kept after all. d may make its
// attributes later.
func (p *Provider) emit(s *Span, reason string, late bool, d Detacher) {
	if !p.watching {
		if !late && s.mode&modeSampled == 0 || len(p.pipelines) == 0 {
			return
		}
		if len(p.pipelines) == 1 {
			if l := p.pipelines[0]; !l.declines() {
				l.admit(s.record(reason, late, d))
			}
			return
		}
		r := s.record(reason, late, d)
		for _, l := range p.pipelines {
			l.admit(r)
		}
		return
	}
	processors := *p.processors.Load()
	r := s.record(reason, late, d)
	if !late {
		for _, sp := range processors {
			sp.OnEnd(r)
		}
		return
	}
	if s.mode&modeSeen == 0 {
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
