package observe

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// logExport sends log records by OTLP, beside the handler that prints them,
// when OTEL_LOGS_EXPORTER asks for it. The SDK's batch processor drops the
// oldest record in silence when its queue is full; here no more are admitted
// than it holds, so every record is sent or counted.
type logExport struct {
	provider *sdklog.LoggerProvider
	batch    sdklog.Processor
	next     sdklog.Exporter
	tel      *Telemetry
	queue    int

	mu          sync.Mutex
	waiting     int
	failedAtEnd int   // records of exports that failed after closed
	endError    error // the last one's
	closed      bool
}

// logExporter returns the OTLP exporter that OTEL_LOGS_EXPORTER asks for, or nil.
func logExporter(ctx context.Context) (sdklog.Exporter, error) {
	p, err := pushOf("LOGS", nil, []string{"OTEL_BLRP_MAX_QUEUE_SIZE", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "OTEL_BLRP_SCHEDULE_DELAY", "OTEL_BLRP_EXPORT_TIMEOUT"})
	switch {
	case err != nil || !p.wanted:
		return nil, err
	case p.grpc:
		return otlploggrpc.New(ctx)
	}
	return otlploghttp.New(ctx)
}

// begin makes the provider; end ends it, and next with it.
func (l *logExport) begin(t *Telemetry) {
	l.tel, l.queue = t, 2048 // the default of OTEL_BLRP_MAX_QUEUE_SIZE
	if n, err := strconv.Atoi(os.Getenv("OTEL_BLRP_MAX_QUEUE_SIZE")); err == nil {
		l.queue = n
	}
	// Zeros: every reason is there before the first loss.
	for _, reason := range []string{"queue_full", "export_failed", "shutdown"} {
		t.losses.add("logs", reason, 0)
	}
	l.batch = sdklog.NewBatchProcessor((*countedLogs)(l), sdklog.WithMaxQueueSize(l.queue))
	l.provider = sdklog.NewLoggerProvider(sdklog.WithProcessor(l), sdklog.WithResource(t.provider.Resource()))
	t.logExport = l
}

func (l *logExport) end(ctx context.Context) error {
	switch {
	case l.provider != nil:
		return l.provider.Shutdown(ctx)
	case l.next != nil:
		return l.next.Shutdown(ctx)
	}
	return nil
}

func (l *logExport) handler() slog.Handler {
	return otelslog.NewHandler(scopeName, otelslog.WithLoggerProvider(l.provider))
}

// Enabled implements sdklog.Processor.
func (l *logExport) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

// OnEmit implements sdklog.Processor. It never waits.
func (l *logExport) OnEmit(ctx context.Context, r *sdklog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		l.tel.losses.add("logs", "shutdown", 1)
	case l.waiting >= l.queue:
		l.tel.losses.add("logs", "queue_full", 1)
	default:
		l.waiting++
		return l.batch.OnEmit(ctx, r)
	}
	return nil
}

// ForceFlush implements sdklog.Processor.
func (l *logExport) ForceFlush(ctx context.Context) error { return l.batch.ForceFlush(ctx) }

// Shutdown implements sdklog.Processor. The error says how many records could not be sent.
func (l *logExport) Shutdown(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	err := l.batch.Shutdown(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.waiting + l.failedAtEnd
	if n == 0 {
		return nil
	}
	if l.waiting > 0 {
		l.tel.losses.add("logs", "shutdown", l.waiting)
		l.waiting = 0
	}
	return fmt.Errorf("logs: %d records were not sent: %v", n, cmp.Or(err, l.endError))
}

// countedLogs is the exporter with accounts.
type countedLogs logExport

// Export implements sdklog.Exporter. Its error stays here: the global handler
// could say neither what was lost nor how much.
func (c *countedLogs) Export(ctx context.Context, records []sdklog.Record) error {
	err := c.next.Export(ctx, records)
	c.mu.Lock()
	counted := c.waiting == 0 // by a Shutdown that ran out of time
	if !counted {
		c.waiting -= len(records)
		if err != nil && c.closed { // the time was over for the export a moment before it was for Shutdown
			c.failedAtEnd += len(records)
			c.endError = err
		}
	}
	c.mu.Unlock()
	if err != nil && !counted {
		c.tel.losses.add("logs", "export_failed", len(records))
		// This record may come back here through LogHandler: one a minute does no harm.
		c.tel.warn("logs", "observe: log records could not be sent", "records", len(records), "err", oneLine(err.Error()))
	}
	return nil
}

// ForceFlush implements sdklog.Exporter.
func (c *countedLogs) ForceFlush(ctx context.Context) error { return c.next.ForceFlush(ctx) }

// Shutdown implements sdklog.Exporter.
func (c *countedLogs) Shutdown(ctx context.Context) error { return c.next.Shutdown(ctx) }
