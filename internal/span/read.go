package span

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// The span as the SDK's processors and samplers read it while it runs.

// Name returns the name.
func (s *Span) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name
}

// SpanKind returns the kind.
func (s *Span) SpanKind() trace.SpanKind { return trace.SpanKind(s.kind) }

// StartTime returns when the span began.
func (s *Span) StartTime() time.Time { return s.start }

// EndTime returns when the span ended, zero before.
func (s *Span) EndTime() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endLocked()
}

func (s *Span) endLocked() time.Time {
	switch {
	case !s.ended:
		return time.Time{}
	case s.more != nil && !s.more.end.IsZero():
		return s.more.end
	}
	return s.start.Add(s.took)
}

// Duration returns how long the span took, zero before it ended.
func (s *Span) Duration() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.took
}

// Status returns the status.
func (s *Span) Status() sdktrace.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statusLocked()
}

func (s *Span) statusLocked() sdktrace.Status {
	st := sdktrace.Status{Code: codes.Code(s.status)}
	if s.more != nil {
		st.Description = s.more.description
	}
	return st
}

// Attributes returns the attributes, each key once.
func (s *Span) Attributes() []attribute.KeyValue {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.describeLocked()
	if s.more == nil {
		return nil
	}
	return s.more.handOut()
}

// Lookup returns the last value set for key by SetAttributes or at the start, without allocating; the describer's
// attributes are not searched.
func (s *Span) Lookup(key attribute.Key) (attribute.Value, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more != nil {
		for i := len(s.more.attrs) - 1; i >= 0; i-- {
			if s.more.attrs[i].Key == key {
				return s.more.attrs[i].Value, true
			}
		}
	}
	return attribute.Value{}, false
}

// Events returns a copy of the events.
func (s *Span) Events() []sdktrace.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		return []sdktrace.Event{}
	}
	return append([]sdktrace.Event{}, s.more.events...)
}

// Links returns a copy of the links.
func (s *Span) Links() []sdktrace.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		return []sdktrace.Link{}
	}
	return append([]sdktrace.Link{}, s.more.links...)
}

// InstrumentationScope returns the scope of the tracer that began the span.
func (s *Span) InstrumentationScope() instrumentation.Scope { return s.scope().is }

// InstrumentationLibrary is InstrumentationScope under its old name.
func (s *Span) InstrumentationLibrary() instrumentation.Scope { return s.scope().is }

// Resource returns what produced the span.
func (s *Span) Resource() *resource.Resource { return s.scope().p.resource }

// TracerProvider returns the provider.
func (s *Span) TracerProvider() trace.TracerProvider { return s.scope().p }

// DroppedAttributes returns how many attributes the limits dropped.
func (s *Span) DroppedAttributes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		return 0
	}
	return s.more.droppedAttrs
}

// DroppedEvents returns how many events the limits dropped.
func (s *Span) DroppedEvents() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		return 0
	}
	return s.more.droppedEvents
}

// DroppedLinks returns how many links the limits dropped.
func (s *Span) DroppedLinks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		return 0
	}
	return s.more.droppedLinks
}

// ChildSpanCount returns how many spans began with this one as their parent while it ran.
func (s *Span) ChildSpanCount() int { return int(s.kids.Load()) }
