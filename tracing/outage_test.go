package tracing_test

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/loadline-go/loadline/tracing"
)

// receiver is a collector that counts the spans it takes.
type receiver struct{ taken atomic.Int64 }

func (r *receiver) count(req *http.Request) int64 {
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return 0
		}
		body = z
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return 0
	}
	var in collector.ExportTraceServiceRequest
	if proto.Unmarshal(text, &in) != nil {
		return 0
	}
	n := int64(0)
	for _, rs := range in.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			n += int64(len(ss.Spans))
		}
	}
	return n
}

func answer(w http.ResponseWriter, rejected int64) {
	out := new(collector.ExportTraceServiceResponse)
	if rejected > 0 {
		out.PartialSuccess = &collector.ExportTracePartialSuccess{RejectedSpans: rejected, ErrorMessage: "too big"}
	}
	text, _ := proto.Marshal(out)
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(text)
}

func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

func TestAnOutageCostsNoRequestAndEverySpanIsAccountedFor(t *testing.T) {
	const spans = 3000
	for _, c := range []struct {
		name string
		// serve answers an export; it returns how many of the n spans it took.
		serve func(w http.ResponseWriter, n int64, done <-chan struct{}) int64
		// exact: what the receiver took is what counts as exported. Otherwise nothing counts.
		exact    bool
		queue    string
		protocol string
	}{
		{name: "all is well", exact: true, queue: "4096", serve: func(w http.ResponseWriter, n int64, _ <-chan struct{}) int64 {
			answer(w, 0)
			return n
		}},
		{name: "the receiver is slow", exact: true, queue: "256", serve: func(w http.ResponseWriter, n int64, done <-chan struct{}) int64 {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-done:
			}
			answer(w, 0)
			return n
		}},
		{name: "it takes a part", exact: true, queue: "4096", serve: func(w http.ResponseWriter, n int64, _ <-chan struct{}) int64 {
			answer(w, 1)
			return n - 1
		}},
		{name: "it hangs", queue: "256", serve: func(_ http.ResponseWriter, _ int64, done <-chan struct{}) int64 { <-done; return 0 }},
		{name: "it resets", queue: "256", serve: func(w http.ResponseWriter, _ int64, _ <-chan struct{}) int64 { reset(w); return 0 }},
		{name: "it fails", queue: "256", serve: func(w http.ResponseWriter, _ int64, _ <-chan struct{}) int64 {
			w.WriteHeader(http.StatusInternalServerError)
			return 0
		}},
		{name: "it asks to come back", queue: "256", serve: func(w http.ResponseWriter, _ int64, _ <-chan struct{}) int64 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return 0
		}},
		{name: "nobody listens", queue: "256"},
		{name: "nobody listens, over gRPC", queue: "256", protocol: "grpc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			r := new(receiver)
			done := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				r.taken.Add(c.serve(w, r.count(req), done))
			}))
			endpoint := server.URL
			if c.serve == nil {
				server.Close()
			}
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", c.protocol)
			t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", c.queue)
			t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
			p, err := tracing.NewProvider(t.Context(), tracing.Config{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for range spans / 3 {
						_, s := p.Tracer("test").Start(t.Context(), "work")
						s.End()
					}
				})
			}
			wg.Wait()
			if took := time.Since(began); took > 3*time.Second { // 3000 spans take a few milliseconds
				t.Errorf("the program was held up: %v", took)
			}
			patience := 10 * time.Second
			if !c.exact {
				patience = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			began = time.Now()
			err = p.Shutdown(ctx)
			if took := time.Since(began); took > patience+2*time.Second {
				t.Errorf("shutdown took %v", took)
			}
			close(done)
			server.Close()

			e := p.Stats().Exporters[0]
			lost := int64(0)
			for _, n := range e.Dropped {
				lost += n
			}
			if e.Produced != spans || e.Exported+lost != spans || e.Queued != 0 {
				t.Errorf("the accounts do not add up: %+v", e)
			}
			if c.exact && e.Exported != r.taken.Load() || !c.exact && e.Exported != 0 {
				t.Errorf("%d count as exported, %d were taken", e.Exported, r.taken.Load())
			}
			if c.name == "all is well" && lost != 0 {
				t.Errorf("lost without need: %+v", e.Dropped)
			}
			// The others may have lost everything before, which was counted and logged then.
			if c.name == "it hangs" && err == nil || err != nil && !strings.Contains(err.Error(), " spans could not be sent") {
				t.Errorf("shutdown says %v", err)
			}
			if again := p.Shutdown(context.Background()); again != err {
				t.Errorf("a second shutdown says %v", again)
			}
			http.DefaultClient.CloseIdleConnections()
			for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; {
				if time.Now().After(end) {
					buf := make([]byte, 1<<16)
					t.Fatalf("%d goroutines before, %d stay:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// broken is an exporter that fails, hangs or panics.
type broken struct{ how func(context.Context) error }

func (b broken) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error { return b.how(ctx) }
func (broken) Shutdown(context.Context) error                                     { return nil }

func TestLossIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		var mu sync.Mutex
		logger := slog.New(slog.NewTextHandler(writer(func(b []byte) { mu.Lock(); text.Write(b); mu.Unlock() }), nil))
		p, err := tracing.NewProvider(t.Context(), tracing.Config{Logger: logger, Exporter: broken{func(context.Context) error { return io.ErrUnexpectedEOF }}})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 * 60 {
			_, s := p.Tracer("test").Start(t.Context(), "work")
			s.End()
			time.Sleep(time.Second)
		}
		synctest.Wait()
		mu.Lock()
		got := text.String()
		mu.Unlock()
		if n := strings.Count(got, "\n"); n != 10 {
			t.Errorf("%d records in ten minutes:\n%s", n, got)
		}
		if !strings.Contains(got, "unexpected EOF") || !strings.Contains(got, "export_failed=") {
			t.Errorf("the record does not say why:\n%s", got)
		}
		if err := p.Shutdown(context.Background()); err != nil {
			t.Errorf("nothing was left to send, yet %v", err)
		}
		if e := p.Stats().Exporters[0]; e.Dropped["export_failed"] != 600 {
			t.Errorf("%+v", e)
		}
	})
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func TestAnExporterThatPanicsEndsNoProgram(t *testing.T) {
	p, err := tracing.NewProvider(t.Context(), tracing.Config{Logger: slog.New(slog.DiscardHandler), Exporter: broken{func(context.Context) error { panic("bug") }}})
	if err != nil {
		t.Fatal(err)
	}
	_, s := p.Tracer("test").Start(t.Context(), "work")
	s.End()
	if err := p.Shutdown(t.Context()); err == nil || !strings.Contains(err.Error(), "1 spans could not be sent: exporter panicked: bug") {
		t.Errorf("shutdown says %v", err)
	}
}

func TestFlushSaysWhatWasLostAndWhatStillWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		p, err := tracing.NewProvider(t.Context(), tracing.Config{Logger: slog.New(slog.DiscardHandler), Exporter: broken{func(ctx context.Context) error {
			select {
			case <-hang:
				return io.ErrClosedPipe
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}}})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, s := p.Tracer("test").Start(t.Context(), "work")
			s.End()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Flush(ctx); err == nil || !strings.Contains(err.Error(), "3 spans still wait to be sent: context deadline exceeded") {
			t.Errorf("flush says %v", err)
		}
		if e := p.Stats().Exporters[0]; e.Queued != 3 {
			t.Errorf("a flush that ran out of time lost spans: %+v", e)
		}
		close(hang)
		synctest.Wait()
		_, s := p.Tracer("test").Start(t.Context(), "work")
		s.End()
		if err := p.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "1 spans could not be sent: io: read/write on closed pipe") {
			t.Errorf("flush says %v", err)
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestImpatientFlushesCostNoSpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
		t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
		t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "3600000")
		hang := make(chan struct{})
		exported := 0
		p, err := tracing.NewProvider(t.Context(), tracing.Config{Logger: slog.New(slog.DiscardHandler), Exporter: broken{func(context.Context) error {
			<-hang
			exported++
			return nil
		}}})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 { // each would leave a mark in the queue
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, s := p.Tracer("test").Start(t.Context(), "work")
			s.End()
			if err := p.Flush(ctx); err == nil {
				t.Error("nothing was sent, yet flush is content")
			}
			cancel()
		}
		if e := p.Stats().Exporters[0]; e.Queued != 8 || e.Dropped["queue_full"] != 12 {
			t.Errorf("%+v", e)
		}
		close(hang)
		if err := p.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if e := p.Stats().Exporters[0]; e.Queued != 0 || e.Exported != 8 || exported != 8 {
			t.Errorf("%d exported: %+v", exported, e)
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// stuck is a user's processor that listens to nobody.
type stuck struct{ wait chan struct{} }

func (stuck) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (stuck) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (s stuck) Shutdown(context.Context) error                { <-s.wait; return nil }
func (s stuck) ForceFlush(context.Context) error              { <-s.wait; return nil }

func TestAProcessorThatHangsIsNotWaitedForBeyondTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stuck{make(chan struct{})}
		p, err := tracing.NewProvider(t.Context(), tracing.Config{Processors: []sdktrace.SpanProcessor{s}})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []func(context.Context) error{p.Flush, p.Shutdown} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := f(ctx); err == nil || !strings.Contains(err.Error(), "tracing_test.stuck") {
				t.Errorf("it says %v", err)
			}
			cancel()
		}
		close(s.wait)
	})
}

func TestTextThatIsNotUTF8CostsNoOtherSpan(t *testing.T) {
	r := new(receiver)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.taken.Add(r.count(req))
		answer(w, 0)
	}))
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	p, err := tracing.NewProvider(t.Context(), tracing.Config{})
	if err != nil {
		t.Fatal(err)
	}
	const bad = "a\xff\xfeb"
	for _, add := range []func(trace.Span){
		func(trace.Span) {},
		func(s trace.Span) { s.SetName(bad) },
		func(s trace.Span) { s.SetStatus(codes.Error, bad) },
		func(s trace.Span) { s.SetAttributes(attribute.String("k", bad)) },
		func(s trace.Span) { s.SetAttributes(attribute.String(bad, "v")) },
		func(s trace.Span) { s.SetAttributes(attribute.StringSlice("k", []string{"a", bad})) },
		func(s trace.Span) {
			s.SetAttributes(attribute.KeyValue{Key: "k", Value: attribute.MapValue(attribute.KeyValue{Key: bad, Value: attribute.SliceValue(attribute.StringValue(bad))})})
		},
		func(s trace.Span) { s.AddEvent(bad) },
		func(s trace.Span) { s.AddEvent("e", trace.WithAttributes(attribute.String("k", bad))) },
		func(s trace.Span) {
			s.AddLink(trace.Link{SpanContext: s.SpanContext(), Attributes: []attribute.KeyValue{attribute.String("k", bad)}})
		},
		func(trace.Span) {
			_, s := p.Tracer(bad, trace.WithInstrumentationVersion(bad), trace.WithSchemaURL(bad), trace.WithInstrumentationAttributes(attribute.String("k", bad))).Start(t.Context(), "x")
			s.End()
		},
	} {
		_, s := p.Tracer("test").Start(t.Context(), "work")
		add(s)
		s.End()
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if n := r.taken.Load(); n != 12 {
		t.Errorf("%d of 12 spans arrived", n)
	}
}
