package observe

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/internal/span"
)

// LogHandler returns a handler that passes every record on to next and adds
// trace_id and span_id, at the top level under any WithGroup, to records
// logged with the context of a request: slog.InfoContext(ctx, ...), not
// slog.Info(...), which has no context to read: code without one logs through a
// logger that was bound to the request, slog.With("trace_id", tracing.ID(ctx)),
// or stays without the trace. Records are counted by level in
// observe_log_records_total, values of the keys in Config.Redact are replaced,
// and with OTEL_LOGS_EXPORTER=otlp each record is also sent by OTLP. A level that
// is set at the admin address (POST /debug/loglevel) goes before that of next.
// Copies of the last records of traces, cut to 512 bytes, are kept in memory (336
// KiB; none without Config.ConsoleKeep) and shown there with the trace.
//
// A nil Telemetry returns next as it is, and so does a second LogHandler around
// the first. LogHandler panics when next is nil.
func (t *Telemetry) LogHandler(next slog.Handler) slog.Handler {
	if next == nil {
		panic("observe: LogHandler: next is nil")
	}
	if t == nil {
		return next
	}
	if h, ok := next.(*logHandler); ok && h.counts == t.logCounts {
		return next
	}
	t.logLevel.used.Store(true)
	h := &logHandler{next: next, counts: t.logCounts, secrets: t.secrets, level: &t.logLevel, recent: t.traceLogs}
	if t.logExport != nil {
		h.export = t.logExport.handler()
	}
	return h
}

// logHandler keeps groups to itself from the first WithGroup on, since a
// handler that has opened a group can no longer write outside of it.
type logHandler struct {
	next    slog.Handler
	export  slog.Handler // the same records by OTLP; nil: not asked for
	counts  *logCounts
	level   *logLevel
	recent  *traceLogs      // nil: the console is off
	secrets map[string]bool // keys whose values are redacted, in lower case
	bound   bool            // the logger was given a trace_id: no second one is added
	boundTo string          // which
	groups  []logGroup

	// For recent: what With added, outside of groups, to what it had added before.
	before *logHandler
	attrs  []slog.Attr
}

type logGroup struct {
	name  string
	attrs []slog.Attr
}

func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	if set := h.level.set.Load(); set != nil {
		return level >= *set
	}
	return h.next.Enabled(ctx, level)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	g := *h
	if len(h.secrets) > 0 {
		attrs = h.redact(attrs)
	}
	if len(h.groups) == 0 {
		for _, a := range attrs {
			if a.Key == "trace_id" {
				g.bound, g.boundTo = true, a.Value.String()
			}
		}
		if h.recent != nil {
			g.before, g.attrs = h, attrs
		}
		g.next = h.next.WithAttrs(attrs)
		if h.export != nil {
			g.export = h.export.WithAttrs(attrs)
		}
		return &g
	}
	g.groups = slices.Clone(h.groups)
	last := &g.groups[len(g.groups)-1]
	last.attrs = slices.Concat(last.attrs, attrs)
	return &g
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	g := *h
	g.groups = append(slices.Clip(h.groups), logGroup{name: name})
	return &g
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	h.counts.add(r.Level)
	if len(h.groups) > 0 || len(h.secrets) > 0 {
		r = h.nest(r)
	}
	if h.export != nil {
		h.export.Handle(ctx, r) // it takes the IDs from ctx; what is lost there is counted
	}
	traceID, spanID := logIDs(ctx)
	if h.recent != nil && (traceID != "" || h.bound) {
		h.recent.add(cmp.Or(traceID, h.boundTo), spanID, &r, h)
	}
	if traceID != "" {
		r = r.Clone()
		if h.bound {
			r.AddAttrs(slog.String("span_id", spanID))
		} else {
			r.AddAttrs(slog.String("trace_id", traceID), slog.String("span_id", spanID))
		}
	}
	return h.next.Handle(ctx, r)
}

// redact returns attrs with the values of secret keys replaced, also in groups.
func (h *logHandler) redact(attrs []slog.Attr) []slog.Attr {
	clean := slices.Clone(attrs)
	for i, a := range clean {
		v := a.Value.Resolve()
		switch {
		case h.secrets[strings.ToLower(a.Key)]:
			clean[i].Value = slog.StringValue(redacted)
		case v.Kind() == slog.KindGroup:
			clean[i].Value = slog.GroupValue(h.redact(v.Group())...)
		}
	}
	return clean
}

// nest returns r without secrets and with its attributes inside the open
// groups. Empty groups are left to next to leave out, as slog.Handler demands.
func (h *logHandler) nest(r slog.Record) slog.Record {
	var inner []slog.Attr
	r.Attrs(func(a slog.Attr) bool { inner = append(inner, a); return true })
	if len(h.secrets) > 0 {
		inner = h.redact(inner)
	}
	for _, g := range slices.Backward(h.groups) {
		inner = []slog.Attr{{Key: g.name, Value: slog.GroupValue(slices.Concat(g.attrs, inner)...)}}
	}
	nested := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	nested.AddAttrs(inner...)
	return nested
}

func logIDs(ctx context.Context) (traceID, spanID string) {
	if ctx == nil {
		return "", ""
	}
	if s := span.FromContext(ctx); s != nil {
		return s.IDs()
	}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		return sc.TraceID().String(), sc.SpanID().String()
	}
	return "", ""
}

// logCounts counts records under slog's four levels; those between count as
// the one below.
type logCounts struct{ debug, info, warn, error prometheus.Counter }

func newLogCounts(m *metrics) *logCounts {
	v := m.counter(logRecords)
	level := func(l slog.Level) prometheus.Counter { c, _ := v.with(l.String()); return c }
	return &logCounts{level(slog.LevelDebug), level(slog.LevelInfo), level(slog.LevelWarn), level(slog.LevelError)}
}

func (c *logCounts) add(l slog.Level) {
	switch {
	case l < slog.LevelInfo:
		c.debug.Inc()
	case l < slog.LevelWarn:
		c.info.Inc()
	case l < slog.LevelError:
		c.warn.Inc()
	default:
		c.error.Inc()
	}
}

// currentDefault is the handler of whatever slog.Default() is at each record:
// a program sets its default logger after Start, since it needs LogHandler for it.
type currentDefault struct{}

func (currentDefault) Enabled(ctx context.Context, l slog.Level) bool {
	return slog.Default().Enabled(ctx, l)
}
func (currentDefault) Handle(ctx context.Context, r slog.Record) error {
	return slog.Default().Handler().Handle(ctx, r)
}
func (currentDefault) WithAttrs(attrs []slog.Attr) slog.Handler {
	return slog.Default().Handler().WithAttrs(attrs)
}
func (currentDefault) WithGroup(name string) slog.Handler {
	return slog.Default().Handler().WithGroup(name)
}

// onceAMinute lets one record a minute pass for each key; keys are few and fixed.
type onceAMinute struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (o *onceAMinute) allow(key string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if last, ok := o.last[key]; ok && now.Sub(last) < time.Minute {
		return false
	}
	if o.last == nil {
		o.last = map[string]time.Time{}
	}
	o.last[key] = now
	return true
}
