package span

import (
	"context"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// linked is what a span with a link has besides itself, in one allocation. It is not part of the span's, because a
// record keeps the links after the span and its context are gone.
type linked struct {
	more
	link [1]sdktrace.Link
}

// BeginLinked is Begin for the root of a new trace, whatever trace parent belongs to, with a link to another.
func (p *Provider) BeginLinked(s *Span, parent context.Context, to trace.SpanContext, o Options) {
	if p == nil {
		p = offProvider()
	}
	o.newRoot = true
	l := new(linked)
	s.more = &l.more
	if !p.off && !p.shell {
		l.link[0].SpanContext = to
		l.links = push(l.link[:0], l.link[0], p.limits.LinkCountLimit, &l.droppedLinks)
	}
	scope := o.Scope
	if scope == nil {
		scope = p.own
	}
	p.begin(s, scope, parent, current(parent), &o, nil)
	if s.mode&modeShell != 0 {
		s.more.shell.AddLink(trace.Link{SpanContext: to})
	}
}
