package observe

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
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

	mu      sync.Mutex
	waiting int
	closed  bool
}

// newLogExport returns nil when logs are not asked for.
func newLogExport(ctx context.Context, t *Telemetry) (*logExport, error) {
	push := false
	for name := range strings.SplitSeq(os.Getenv("OTEL_LOGS_EXPORTER"), ",") {
		switch strings.TrimSpace(name) {
		case "", "none":
		case "otlp":
			push = true
		default:
			return nil, fmt.Errorf("OTEL_LOGS_EXPORTER: %q: want otlp or none; LogHandler's own handler prints", clip(name, 80))
		}
	}
	if !push || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	l := &logExport{tel: t, queue: 2048} // the default of OTEL_BLRP_MAX_QUEUE_SIZE
	if s := os.Getenv("OTEL_BLRP_MAX_QUEUE_SIZE"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("OTEL_BLRP_MAX_QUEUE_SIZE: %q: want a number above 0", clip(s, 80))
		}
		l.queue = n
	}
	var err error
	switch protocol := or(os.Getenv("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")); protocol {
	case "", "http/protobuf":
		l.next, err = otlploghttp.New(ctx)
	case "grpc":
		l.next, err = otlploggrpc.New(ctx)
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL: %q: want http/protobuf or grpc", clip(protocol, 80))
	}
	if err != nil {
		return nil, fmt.Errorf("OTEL_LOGS_EXPORTER: otlp: %w", err)
	}
	l.begin()
	return l, nil
}

func (l *logExport) begin() {
	// Zeros: every reason is there before the first loss.
	for _, reason := range []string{"queue_full", "export_failed", "shutdown"} {
		l.tel.losses.add("logs", reason, 0)
	}
	l.batch = sdklog.NewBatchProcessor((*countedLogs)(l), sdklog.WithMaxQueueSize(l.queue))
	l.provider = sdklog.NewLoggerProvider(sdklog.WithProcessor(l), sdklog.WithResource(l.tel.provider.Resource()))
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
	if l.waiting == 0 {
		return nil
	}
	l.tel.losses.add("logs", "shutdown", l.waiting)
	n := l.waiting
	l.waiting = 0
	return fmt.Errorf("logs: %d records were not sent: %v", n, err)
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
