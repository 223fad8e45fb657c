package span

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
)

// Sampled returns the current span of ctx, anybody's, when a reader will find its trace, or else nil. It costs a third of
// trace.SpanContextFromContext.
func Sampled(ctx context.Context) trace.Span {
	switch s := current(ctx).(type) {
	case nil:
		return nil
	case *Span:
		if !s.Exported() {
			return nil
		}
		return s
	default:
		if !s.SpanContext().IsSampled() {
			return nil
		}
		return s
	}
}

// Took returns how long the span took. It takes no lock: for the goroutine that ended it.
func (s *Span) Took() time.Duration { return s.took }

// Failed reports whether the status is an error. It takes no lock: for the goroutine that ended the span.
func (s *Span) Failed() bool { return codes.Code(s.status) == codes.Error }

// Running returns how long ago the span began.
func (s *Span) Running() time.Duration { return time.Since(s.start) }

// Exported reports whether the span goes to the exporters: it was sampled, or it is a local root that was kept late. Of
// a span below, it is known only from the sampler.
func (s *Span) Exported() bool {
	return s != nil && (s.mode&modeSampled != 0 || s.marks.Load()&markKept != 0)
}

// Resource returns what the provider's spans say produced them.
func (p *Provider) Resource() *resource.Resource {
	if p == nil {
		return resource.Empty()
	}
	return p.resource
}

// Discard ends a span that turned out to stand for nothing, as a statement that a driver declined to run: it is not
// exported and nobody is told of its end. A processor that looks at starts has seen it start.
func (s *Span) Discard() {
	if s.mode&modeShell != 0 {
		s.End() // the SDK has no way to take a span back
		return
	}
	if s.mode&modeOff != 0 || !s.close(0, &s.start, "", false) {
		return
	}
	if up, ok := current(s.ctx).(*Span); ok {
		up.kids.Add(-1)
	}
	f := s.family.Load()
	if f == nil {
		return
	}
	gone := true
	if s.mode&modeRoot == 0 {
		f.mu.Lock()
		for at := &f.last; *at != nil; at = &(*at).next {
			if *at == s {
				*at = s.next
				f.linked--
				break
			}
		}
		s.next = nil
		f.open--
		if s.mode&modeWaits != 0 && !f.closed {
			f.unwait(s.start.Sub(f.root.start))
		}
		gone = f.closed && f.open == 0
		f.mu.Unlock()
	}
	if gone {
		s.scope().p.families.remove(f)
	}
}
