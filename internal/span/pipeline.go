package span

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Exporter is one way out, with the name it has in accounts and logs.
type Exporter struct {
	Name string
	sdktrace.SpanExporter
	// Queue is how many spans may wait or be on their way; beyond it they are dropped and counted. Default 2048.
	Queue int
	// Timeout bounds one export. Default 30 s.
	Timeout time.Duration
}

// The reasons of a drop.
const (
	reasonQueueFull = "queue_full"    // the exporter does not keep up, or hangs
	reasonFailed    = "export_failed" // the exporter gave up on them
	reasonShutdown  = "shutdown"      // ended after Shutdown, or not sent in its time
	reasonTraceSize = "trace_size"    // children of a trace kept late, beyond the bounds of memory
)

// Reasons lists every reason a span can be dropped for.
func Reasons() []string {
	return []string{reasonQueueFull, reasonFailed, reasonShutdown, reasonTraceSize}
}

// pipeline is the SDK's batch processor with admission in front and accounts behind. The processor drops silently when
// its queue is full; here no more spans are admitted than it holds, so it never does. And it takes a span through a
// channel and a select, which cost as much as all else that a sampled request does: so it is given whole batches, of the
// size and after the time that it would make them by itself.
type pipeline struct {
	name   string
	queue  int
	limit  time.Duration
	bsp    sdktrace.SpanProcessor
	next   sdktrace.SpanExporter
	log    func(msg string, args ...any)
	kill   context.CancelFunc
	killed context.Context
	flush  chan struct{} // holds the one flush under way: each takes a place in the processor's queue

	full atomic.Bool // a hint, so that nobody copies a span for a queue that has no room

	mu       sync.Mutex
	batch    []sdktrace.ReadOnlySpan // admitted, and not yet handed to the processor
	spare    []sdktrace.ReadOnlySpan // memory for the next batch
	most     int                     // of a batch
	delay    time.Duration           // between batches that do not fill up
	handed   time.Time               // the last batch
	timer    *time.Timer
	closed   bool // nothing is admitted
	counted  bool // what is not sent has been counted as dropped
	produced int64
	waiting  int64
	exported int64
	dropped  map[string]int64
	lastErr  error
	logged   time.Time
	unsaid   int64 // spans lost since the last log record
}

func newPipeline(e Exporter, log func(string, ...any)) *pipeline {
	if e.Queue <= 0 {
		e.Queue = sdktrace.DefaultMaxQueueSize
	}
	if e.Timeout <= 0 {
		e.Timeout = sdktrace.DefaultExportTimeout * time.Millisecond
	}
	l := &pipeline{name: e.Name, queue: e.Queue, limit: e.Timeout, next: e.SpanExporter, log: log,
		flush: make(chan struct{}, 1), dropped: make(map[string]int64)}
	l.killed, l.kill = context.WithCancel(context.Background())
	// Two places more than are admitted, for the mark that the one flush at a time puts into the queue.
	l.bsp = sdktrace.NewBatchSpanProcessor(l.exporter(), sdktrace.WithMaxQueueSize(e.Queue+2),
		func(o *sdktrace.BatchSpanProcessorOptions) { // which it has read from OTEL_BSP_*
			l.most, l.delay = max(1, min(o.MaxExportBatchSize, e.Queue)), o.BatchTimeout
			o.MaxExportBatchSize, o.BatchTimeout = 1, time.Hour // a batch is exported when it comes; nothing waits for others
		})
	l.batch = make([]sdktrace.ReadOnlySpan, 0, l.most)
	l.timer = time.AfterFunc(time.Hour, l.handNow)
	l.timer.Stop() // until there is a batch
	l.handed = time.Now()
	return l
}

// OnStart does nothing.
func (l *pipeline) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd admits a span that is sampled.
func (l *pipeline) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() { // or else it is recorded for other processors only
		l.admit(s)
	}
}

// admit takes a span or counts it as dropped. It never waits for an exporter.
func (l *pipeline) admit(s sdktrace.ReadOnlySpan) {
	l.mu.Lock()
	l.produced++
	switch {
	case l.closed:
		l.drop(1, reasonShutdown, nil)
	case l.waiting >= int64(l.queue):
		l.full.Store(true)
		l.drop(1, reasonQueueFull, nil)
	default:
		l.waiting++
		if l.batch = append(l.batch, s); len(l.batch) >= l.most {
			l.hand()
		} else if len(l.batch) == 1 {
			l.timer.Reset(l.due())
		}
	}
	if l.unsaid == 0 {
		l.mu.Unlock()
		return
	}
	say := l.report()
	l.mu.Unlock()
	say()
}

// whole is a batch, as the one span that the processor sees.
type whole struct {
	sdktrace.ReadOnlySpan // nil: the processor asks for nothing but the following
	spans                 []sdktrace.ReadOnlySpan
}

// SpanContext says that it is sampled, and so to be exported.
func (*whole) SpanContext() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceFlags: trace.FlagsSampled})
}

// hand passes the batch on, with the lock held, so that nothing is under way when the end comes. The send does not block:
// no more spans are admitted than the processor has room for.
func (l *pipeline) hand() {
	if len(l.batch) == 0 {
		return
	}
	l.handed = time.Now()
	l.bsp.OnEnd(&whole{spans: l.batch})
	if l.batch, l.spare = l.spare, nil; l.batch == nil {
		l.batch = make([]sdktrace.ReadOnlySpan, 0, l.most)
	}
}

// due returns when a batch that has just begun is handed over, however small: when the processor would, whose timer runs
// on from batch to batch.
func (l *pipeline) due() time.Duration {
	if l.delay <= 0 {
		return 0
	}
	return l.delay - time.Since(l.handed)%l.delay
}

// handNow is hand for who does not hold the lock.
func (l *pipeline) handNow() {
	l.mu.Lock()
	l.hand()
	l.mu.Unlock()
}

// declines reports whether there is no room for a span, and then has counted it as dropped.
func (l *pipeline) declines() bool {
	if !l.full.Load() {
		return false
	}
	l.mu.Lock()
	if l.closed || l.waiting < int64(l.queue) {
		l.full.Store(false)
		l.mu.Unlock()
		return false
	}
	l.produced++
	l.drop(1, reasonQueueFull, nil)
	say := l.report()
	l.mu.Unlock()
	say()
	return true
}

// lose counts spans that were let go before they came here.
func (l *pipeline) lose(n int, reason string) {
	l.mu.Lock()
	l.produced += int64(n)
	l.drop(int64(n), reason, nil)
	say := l.report()
	l.mu.Unlock()
	say()
}

// drop counts, with the lock held.
func (l *pipeline) drop(n int64, reason string, err error) {
	if n == 0 {
		return
	}
	l.dropped[reason] += n
	l.unsaid += n
	if err != nil {
		l.lastErr = err
	}
}

// report returns what to log, at most once a minute. Called with the lock held; the result without.
func (l *pipeline) report() (say func()) {
	if l.unsaid == 0 || l.log == nil {
		return nothing
	}
	now := time.Now()
	if !l.logged.IsZero() && now.Sub(l.logged) < time.Minute {
		return nothing
	}
	args := []any{"exporter", l.name, "spans", l.unsaid}
	for _, r := range Reasons() {
		if n := l.dropped[r]; n > 0 {
			args = append(args, r, n)
		}
	}
	if l.lastErr != nil {
		args = append(args, "err", l.lastErr)
	}
	l.logged, l.unsaid = now, 0
	return func() { l.log("tracing: spans lost", args...) }
}

func nothing() {}

// exporter is the accounting wrapper that the batch processor calls.
func (l *pipeline) exporter() sdktrace.SpanExporter { return (*counting)(l) }

type counting pipeline

// ExportSpans exports batches and counts. It returns no error: the error is counted and logged here, once.
func (c *counting) ExportSpans(ctx context.Context, batches []sdktrace.ReadOnlySpan) error {
	for _, b := range batches {
		(*pipeline)(c).exportBatch(ctx, b.(*whole).spans)
	}
	return nil
}

func (l *pipeline) exportBatch(ctx context.Context, spans []sdktrace.ReadOnlySpan) {
	// A flush whose time is up must not take the batch with it: the export goes on for its own time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.limit)
	stop := context.AfterFunc(l.killed, cancel)
	err := l.export(ctx, spans)
	stop()
	cancel()
	lost := rejected(err, len(spans))
	l.mu.Lock()
	if l.counted {
		l.mu.Unlock()
		return
	}
	l.waiting -= int64(len(spans))
	l.exported += int64(len(spans) - lost)
	l.drop(int64(lost), reasonFailed, err)
	clear(spans) // exporters keep no part of a batch, which the SDK's processor uses again, too
	l.spare = spans[:0]
	say := l.report()
	l.mu.Unlock()
	say()
}

// export turns a panic of the exporter, which would end the program, into an error.
func (l *pipeline) export(ctx context.Context, spans []sdktrace.ReadOnlySpan) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("exporter panicked: %v", r)
		}
	}()
	return l.next.ExportSpans(ctx, mendAll(spans))
}

func (c *counting) Shutdown(ctx context.Context) error { return c.next.Shutdown(ctx) }

// partial is how the OTLP exporters word a receiver that took some of the spans.
var partial = regexp.MustCompile(`OTLP partial success: .*\((\d+) spans rejected\)`)

// rejected tells how many of n spans an export lost.
func rejected(err error, n int) int {
	if err == nil {
		return 0
	}
	if m := partial.FindStringSubmatch(err.Error()); m != nil {
		if k, e := strconv.Atoi(m[1]); e == nil {
			return min(k, n)
		}
	}
	return n
}

// ForceFlush sends what waits. It returns an error that counts the spans lost meanwhile or still waiting.
func (l *pipeline) ForceFlush(ctx context.Context) error {
	l.mu.Lock()
	before := l.dropped[reasonFailed]
	l.mu.Unlock()
	err := l.flushOnce(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.dropped[reasonFailed] - before; n > 0 {
		return fmt.Errorf("exporter %s: %d spans could not be sent: %w", l.name, n, l.lastErr)
	}
	if err != nil {
		return fmt.Errorf("exporter %s: %d spans still wait to be sent: %w", l.name, l.waiting, err)
	}
	return nil
}

// flushOnce has the processor flush, after a flush that is under way. When ctx ends first, the flush goes on.
func (l *pipeline) flushOnce(ctx context.Context) error {
	select {
	case l.flush <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.handNow()
	done := make(chan error, 1)
	go func() {
		err := l.bsp.ForceFlush(l.killed)
		<-l.flush
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown sends what waits within ctx and counts the rest as dropped.
func (l *pipeline) Shutdown(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.timer.Stop()
	l.hand()
	failed := l.dropped[reasonFailed]
	l.mu.Unlock()
	err := l.bsp.Shutdown(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counted = true
	l.kill() // an export that still hangs ends now; its spans are counted below
	n := l.waiting
	l.waiting = 0
	if n > 0 && l.lastErr == nil {
		l.lastErr = context.Cause(ctx)
	}
	l.drop(n, reasonShutdown, nil)
	if n += l.dropped[reasonFailed] - failed; n > 0 {
		return fmt.Errorf("exporter %s: %d spans could not be sent: %w", l.name, n, l.lastErr)
	}
	if err != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("exporter %s: %w", l.name, err)
	}
	return nil
}
