package observe

import (
	"log/slog"
	"sync"
	"time"
)

// slowLog writes a record for slow queries, a few a second at most: when
// everything is slow, one more record tells nothing.
type slowLog struct {
	tel   *Telemetry
	above time.Duration

	mu      sync.Mutex
	second  int64 // of the last record
	written int   // in that second
	skipped int   // since the last record
}

// slowRecords is how many records a second a database writes at most.
const slowRecords = 5

func (l *slowLog) record(e *execution, took time.Duration, class string) {
	l.mu.Lock()
	if now := time.Now().Unix(); now != l.second {
		l.second, l.written = now, 0
	}
	if l.written++; l.written > slowRecords {
		l.skipped++
		l.mu.Unlock()
		return
	}
	skipped := l.skipped
	l.skipped = 0
	l.mu.Unlock()

	attrs := []slog.Attr{
		slog.String("database", e.db.name), slog.String("operation", e.operation), slog.String("summary", e.summary),
		slog.String("query", text(withoutLiterals(e.text), maxAttribute)), slog.Duration("duration", took),
	}
	if class != "" {
		attrs = append(attrs, slog.String("error_type", class))
	}
	if skipped > 0 {
		attrs = append(attrs, slog.Int("skipped", skipped))
	}
	logger := l.tel.config.Logger
	if e.span != nil {
		// Bound to the logger, so that a LogHandler of ours does not add it once more.
		traceID, _ := e.span.IDs()
		logger = logger.With(slog.String("trace_id", traceID))
	}
	logger.LogAttrs(e.ctx, slog.LevelWarn, "observe: slow query", attrs...)
}
