package span

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// lateStart is what a processor's OnStart gets for a span that is kept late: it reads as the record, and attributes set
// on it reach the record, as if the span had just begun. Other changes come too late and do nothing.
type lateStart struct {
	*Span
	record *record
	closed bool
}

func (l *lateStart) SetAttributes(attrs ...attribute.KeyValue) {
	if l.closed {
		return
	}
	m := more{attrs: append([]attribute.KeyValue(nil), l.record.Attributes()...), droppedAttrs: l.record.DroppedAttributes(), dirty: true}
	m.add(l.Span.scope().p, attrs)
	if l.record.rest == nil {
		l.record.rest = new(rest)
	}
	l.record.rest.attrs, l.record.rest.droppedAttrs, l.record.described = m.handOut(), m.droppedAttrs, false
}

// seal ends the time for attributes: the record is about to be shared.
func (l *lateStart) seal() { l.closed = true }

func (l *lateStart) Name() string                                { return l.record.name }
func (l *lateStart) SpanContext() trace.SpanContext              { return l.record.SpanContext() }
func (l *lateStart) Parent() trace.SpanContext                   { return l.record.Parent() }
func (l *lateStart) SpanKind() trace.SpanKind                    { return l.record.SpanKind() }
func (l *lateStart) StartTime() time.Time                        { return l.record.start }
func (l *lateStart) EndTime() time.Time                          { return l.record.EndTime() }
func (l *lateStart) Attributes() []attribute.KeyValue            { return l.record.Attributes() }
func (l *lateStart) Events() []sdktrace.Event                    { return l.record.Events() }
func (l *lateStart) Links() []sdktrace.Link                      { return l.record.Links() }
func (l *lateStart) Status() sdktrace.Status                     { return l.record.Status() }
func (l *lateStart) ChildSpanCount() int                         { return l.record.ChildSpanCount() }
func (l *lateStart) Resource() *resource.Resource                { return l.record.Resource() }
func (l *lateStart) InstrumentationScope() instrumentation.Scope { return l.record.scope.is }
func (l *lateStart) IsRecording() bool                           { return !l.closed }
