package span

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// beginShell lets an SDK span do the work.
func (p *Provider) beginShell(s *Span, scope *Scope, parent context.Context, o *Options) {
	s.mode = modeShell | modeRoot
	if !trace.SpanContextFromContext(parent).IsValid() {
		if far := s.caller(trace.SpanContext{}, o); far.IsValid() {
			parent = trace.ContextWithRemoteSpanContext(parent, far)
		}
	}
	opts := []trace.SpanStartOption{trace.WithSpanKind(o.Kind), trace.WithTimestamp(s.start)}
	if o.Describer != nil {
		opts = append(opts, trace.WithAttributes(o.Describer.Describe(nil, false)...))
	}
	if o.newRoot {
		opts = append(opts, trace.WithNewRoot())
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

// endShell ends the SDK span that did the work.
func (s *Span) endShell(o *Outcome) {
	shell := s.more.shell
	if s.descr != nil {
		shell.SetAttributes(s.descr.Describe(nil, true)...)
	}
	if o.Failed || o.Panicked {
		shell.SetStatus(codes.Error, "")
	}
	shell.End(trace.WithTimestamp(s.EndTime()))
}
