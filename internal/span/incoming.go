package span

import (
	"context"
	"encoding/binary"
	rt "runtime/trace"

	"go.opentelemetry.io/otel/trace"
)

// BeginIncoming is Begin for a request from outside, of which there are many: where nothing unusual is asked of the
// provider and no span is current, it comes to the same as Begin in half the time. Random, when it is not zero, becomes
// the span's ID. Alone says that parent has no current span. Options.Remote is not looked at; o is not kept.
func (p *Provider) BeginIncoming(s *Span, parent context.Context, o *Options, random uint64, alone bool) {
	if p == nil || !p.usual || !alone || o.Scope == nil || rt.IsEnabled() {
		p.Begin(s, parent, *o)
		return
	}
	s.ReadWriteSpan = o.Scope
	s.ctx = parent
	s.name = o.Name
	s.kind = uint8(o.Kind)
	s.start = o.Start
	s.descr = o.Describer
	s.mode = modeRoot

	known := false
	if v := o.Header[traceparentKey]; len(v) == 1 {
		s.parentFlags, known = readTraceparent(v[0], &s.traceID, &s.parentID)
	}
	r := &p.sampler.plain
	if known {
		s.mode |= modeRemoteParent
		if states := o.Header[tracestateKey]; len(states) > 0 {
			s.takeState(states)
		}
		if p.sampler.byParent {
			if r = &p.sampler.remoteOff; s.parentFlags.IsSampled() {
				r = &p.sampler.remoteOn
			}
		}
	} else {
		s.traceID = NewTraceID()
	}
	if random == 0 {
		s.id = newSpanID()
	} else {
		binary.NativeEndian.PutUint64(s.id[:], random)
	}
	s.flags = s.parentFlags &^ trace.FlagsSampled
	if r.samples(&s.traceID) {
		s.flags |= trace.FlagsSampled
		s.mode |= modeSampled | modeSeen
	}
}

// Current reports whether ctx has a current span, anybody's.
func Current(ctx context.Context) bool { return current(ctx) != nil }

// takeState takes over the caller's state.
func (s *Span) takeState(states []string) {
	var c trace.SpanContextConfig
	s.readState(&c, readTracestate(states))
	if c.TraceState.Len() > 0 {
		s.extra().parentState = c.TraceState
	}
	if m := s.more; m != nil {
		m.state = m.parentState
		s.mode |= modeHasState
	}
}
