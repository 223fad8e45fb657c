package span

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// The names of the exception conventions, as the SDK writes them.
const (
	exceptionEvent      = "exception"
	exceptionType       = attribute.Key("exception.type")
	exceptionMessage    = attribute.Key("exception.message")
	exceptionStacktrace = attribute.Key("exception.stacktrace")
)

// extra returns the rarely used part, making it. Called with mu held or before the span is shared.
func (s *Span) extra() *more {
	if s.more == nil {
		s.more = new(more)
	}
	return s.more
}

// open locks the span when it is still recording.
func (s *Span) open() bool {
	if s == nil || s.mode&modeOff != 0 {
		return false
	}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false
	}
	return true
}

// SetName renames the span. It does nothing after the end.
func (s *Span) SetName(name string) {
	if s.isShell() {
		s.more.shell.SetName(name)
	}
	if s.open() {
		s.name = name
		s.mu.Unlock()
	}
}

// SetStatus sets the status: Ok wins over Error, Error over Unset, and a description belongs to Error. It does nothing
// after the end.
func (s *Span) SetStatus(code codes.Code, description string) {
	if s.isShell() {
		s.more.shell.SetStatus(code, description)
	}
	if !s.open() {
		return
	}
	defer s.mu.Unlock()
	if codes.Code(s.status) > code {
		return
	}
	s.status = uint8(min(code, 255))
	if code != codes.Error {
		description = ""
	}
	if description != "" || s.more != nil {
		s.extra().description = description
	}
}

// SetAttributes adds attributes; a later value of a key replaces the earlier one. What exceeds the limits is dropped and
// counted. It does nothing after the end.
func (s *Span) SetAttributes(attrs ...attribute.KeyValue) {
	if s.isShell() {
		s.more.shell.SetAttributes(attrs...)
		return
	}
	if len(attrs) == 0 || !s.open() {
		return
	}
	s.extra().add(s.scope().p, attrs)
	s.mu.Unlock()
}

// add is SetAttributes with mu held.
func (m *more) add(p *Provider, attrs []attribute.KeyValue) {
	limit := p.limits.AttributeCountLimit
	if limit == 0 {
		m.droppedAttrs += len(attrs)
		return
	}
	m.unshare(len(attrs))
	if limit > 0 && len(m.attrs)+len(attrs) > limit {
		m.addOver(p, limit, attrs)
		return
	}
	m.attrs = slices.Grow(m.attrs, len(attrs))
	for _, a := range attrs {
		if !a.Valid() {
			m.droppedAttrs++
			continue
		}
		m.attrs = append(m.attrs, p.normalize(a))
		m.dirty = true
	}
}

// addOver adds attributes that may not all fit: known keys are updated, new ones dropped at the limit.
func (m *more) addOver(p *Provider, limit int, attrs []attribute.KeyValue) {
	index := m.dedupe()
	for _, a := range attrs {
		if !a.Valid() {
			m.droppedAttrs++
			continue
		}
		if i, ok := index[a.Key]; ok {
			m.attrs[i] = p.normalize(a)
			continue
		}
		if len(m.attrs) >= limit {
			m.droppedAttrs++
			continue
		}
		m.attrs = append(m.attrs, p.normalize(a))
		index[a.Key] = len(m.attrs) - 1
	}
}

// unshare gives attrs a backing array that nobody else reads.
func (m *more) unshare(room int) {
	if m.shared {
		m.attrs = append(make([]attribute.KeyValue, 0, len(m.attrs)+min(room, 16)), m.attrs...)
		m.shared = false
	}
}

// dedupe keeps the last value of each key at the place of its first, and returns where each key is.
func (m *more) dedupe() map[attribute.Key]int {
	index := make(map[attribute.Key]int, len(m.attrs))
	unique := m.attrs[:0]
	for _, a := range m.attrs {
		if i, ok := index[a.Key]; ok {
			unique[i] = a
			continue
		}
		unique = append(unique, a)
		index[a.Key] = len(unique) - 1
	}
	clear(m.attrs[len(unique):])
	m.attrs = unique
	m.dirty = false
	return index
}

// handOut returns the attributes, each key once, in an array that later calls leave alone.
func (m *more) handOut() []attribute.KeyValue {
	if m.dirty {
		m.unshare(0)
		if repeats(m.attrs) {
			m.dedupe()
		}
		m.dirty = false
	}
	m.shared = cap(m.attrs) > 0
	return m.attrs
}

// repeats reports whether a key occurs twice. Quadratic for the few attributes that spans have, where it beats a map.
func repeats(attrs []attribute.KeyValue) bool {
	if len(attrs) > 24 {
		return true
	}
	for i := range attrs {
		for j := range i {
			if attrs[i].Key == attrs[j].Key {
				return true
			}
		}
	}
	return false
}

// AddEvent adds an event; beyond the limit the oldest is dropped and counted. It does nothing after the end.
func (s *Span) AddEvent(name string, opts ...trace.EventOption) {
	if s.isShell() {
		s.more.shell.AddEvent(name, opts...)
		return
	}
	if s.open() {
		s.addEvent(name, opts)
		s.mu.Unlock()
	}
}

func (s *Span) addEvent(name string, opts []trace.EventOption) {
	p := s.scope().p
	c := trace.NewEventConfig(opts...)
	e := sdktrace.Event{Name: name, Attributes: p.normalizeAll(c.Attributes()), Time: c.Timestamp()}
	e.Attributes, e.DroppedAttributeCount = limitAttrs(e.Attributes, p.limits.AttributePerEventCountLimit)
	m := s.extra()
	m.events = push(m.events, e, p.limits.EventCountLimit, &m.droppedEvents)
}

// AddLink adds a link; beyond the limit the oldest is dropped and counted. A link that says nothing is ignored. It does
// nothing after the end.
func (s *Span) AddLink(link trace.Link) {
	if s.isShell() {
		s.more.shell.AddLink(link)
		return
	}
	if !link.SpanContext.IsValid() && len(link.Attributes) == 0 && link.SpanContext.TraceState().Len() == 0 {
		return
	}
	if !s.open() {
		return
	}
	p := s.scope().p
	l := sdktrace.Link{SpanContext: link.SpanContext, Attributes: p.normalizeAll(link.Attributes)}
	l.Attributes, l.DroppedAttributeCount = limitAttrs(l.Attributes, p.limits.AttributePerLinkCountLimit)
	m := s.extra()
	m.links = push(m.links, l, p.limits.LinkCountLimit, &m.droppedLinks)
	s.mu.Unlock()
}

func limitAttrs(attrs []attribute.KeyValue, limit int) ([]attribute.KeyValue, int) {
	switch {
	case limit == 0:
		return nil, len(attrs)
	case limit > 0 && len(attrs) > limit:
		return attrs[:limit], len(attrs) - limit
	}
	return attrs, 0
}

// push appends to a queue that drops its oldest at the limit; a negative limit is none.
func push[T any](queue []T, v T, limit int, dropped *int) []T {
	if limit == 0 {
		*dropped++
		return queue
	}
	if limit > 0 && len(queue) == limit {
		copy(queue, queue[1:])
		queue[limit-1] = v
		*dropped++
		return queue
	}
	return append(queue, v)
}

// RecordError adds err as an exception event. It does not set the status, and does nothing for a nil error or after the
// end.
func (s *Span) RecordError(err error, opts ...trace.EventOption) {
	if s.isShell() {
		s.more.shell.RecordError(err, opts...)
		return
	}
	if err == nil || !s.IsRecording() {
		return
	}
	opts = append(opts, trace.WithAttributes(exceptionType.String(typeName(err)), exceptionMessage.String(err.Error())))
	if c := trace.NewEventConfig(opts...); c.StackTrace() {
		opts = append(opts, trace.WithAttributes(exceptionStacktrace.String(stack())))
	}
	s.AddEvent(exceptionEvent, opts...)
}

func typeName(v any) string {
	t := reflect.TypeOf(v)
	if t.PkgPath() == "" && t.Name() == "" {
		return t.String()
	}
	return fmt.Sprintf("%s.%s", t.PkgPath(), t.Name())
}

func stack() string {
	buf := make([]byte, 2048) // the SDK's size
	return string(buf[:runtime.Stack(buf, false)])
}

// End ends the span. Called in a defer while panicking it records the panic, marks the trace to be kept, and lets the
// panic go on. A second call does nothing.
func (s *Span) End(opts ...trace.SpanEndOption) {
	if s == nil {
		return
	}
	end := s.start.Add(time.Since(s.start))
	if s.Ended() {
		return
	}
	c := trace.NewSpanEndConfig(opts...)
	if r := recover(); r != nil {
		defer panic(r)
		s.marks.Or(markPanicked)
		attrs := []trace.EventOption{trace.WithAttributes(exceptionType.String(typeName(r)), exceptionMessage.String(fmt.Sprint(r)))}
		if c.StackTrace() {
			attrs = append(attrs, trace.WithAttributes(exceptionStacktrace.String(stack())))
		}
		s.AddEvent(exceptionEvent, attrs...)
	}
	var given *time.Time
	if at := c.Timestamp(); !at.IsZero() {
		end, given = at, &at
	}
	if s.close(end.Sub(s.start), given, "", false) {
		s.settle(&Outcome{Panicked: s.marks.Load()&markPanicked != 0})
	}
}

// Finish ends the span with what its edge knows. A second call, or one after End, does nothing.
func (s *Span) Finish(o Outcome) { s.FinishWith(&o) }

// FinishWith is Finish without a copy of o, which is not kept.
func (s *Span) FinishWith(o *Outcome) {
	if s == nil {
		return
	}
	if o.Name != "" && s.isShell() {
		s.more.shell.SetName(o.Name)
	}
	took := o.Took
	if took == 0 {
		if o.End.IsZero() {
			took = time.Since(s.start)
		} else {
			took = o.End.Sub(s.start)
		}
	}
	if s.close(took, nil, o.Name, o.Failed || o.Panicked) {
		s.settle(o)
	}
}

// close marks the span ended and gives it its last name, unless that is empty; it reports false when it already was. Given
// is the end where a caller said it.
func (s *Span) close(took time.Duration, given *time.Time, name string, failed bool) bool {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false
	}
	if s.more != nil && s.more.task != nil {
		s.more.task.End()
		s.more.task = nil
	}
	if given != nil {
		s.extra().end = *given
	}
	if name != "" {
		s.name = name
	}
	s.took = took
	if failed && codes.Code(s.status) == codes.Unset {
		s.status = uint8(codes.Error)
	}
	s.ended = true
	s.mu.Unlock()
	s.marks.Or(markEnded)
	return true
}

func (s *Span) isShell() bool { return s != nil && s.mode&modeShell != 0 }
