package span

import (
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// endShell ends the SDK span that did the work.
func (s *Span) endShell(o Outcome) {
	shell := s.more.shell
	if s.descr != nil {
		shell.SetAttributes(s.descr.Describe(nil, true)...)
	}
	if o.Failed || o.Panicked {
		shell.SetStatus(codes.Error, "")
	}
	shell.End(trace.WithTimestamp(s.EndTime()))
}
