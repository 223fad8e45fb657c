package span

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// exports notes when how many spans were exported.
type exports struct {
	mu   sync.Mutex
	from time.Time
	list []string
}

func (e *exports) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, fmt.Sprint(time.Since(e.from), " ", len(spans), " ", spans[0].Name(), "-", spans[len(spans)-1].Name()))
	return nil
}

func (e *exports) Shutdown(context.Context) error { return nil }

// Spans arrive in the batches and at the times that OTEL_BSP_* ask the SDK's processor for, though it is given whole ones.
func TestBatchesAreThoseOfTheProcessor(t *testing.T) {
	for _, c := range []struct{ size, delay string }{{"100", "2000"}, {"512", "5000"}, {"1", "1000"}, {"1000", "300"}} {
		t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", c.size)
		t.Setenv("OTEL_BSP_SCHEDULE_DELAY", c.delay)
		run := func(provider func(sdktrace.SpanExporter) interface {
			trace.TracerProvider
			Shutdown(context.Context) error
			ForceFlush(context.Context) error
		}) (list []string) {
			synctest.Test(t, func(t *testing.T) {
				out := &exports{from: time.Now()}
				p := provider(out)
				tracer, n := p.Tracer("test"), 0
				for _, step := range []struct {
					wait  time.Duration
					spans int
				}{
					{0, 250}, {time.Second + 1, 30}, {2500 * time.Millisecond, 10}, {10 * time.Second, 5}, {time.Minute, 0}, {time.Millisecond, 512}, {time.Second, 1}, {100 * time.Millisecond, 1},
				} {
					time.Sleep(step.wait)
					for range step.spans {
						n++
						_, s := tracer.Start(context.Background(), fmt.Sprint(n))
						s.End()
					}
					synctest.Wait()
				}
				if err := p.ForceFlush(context.Background()); err != nil {
					t.Error(err)
				}
				time.Sleep(17 * time.Millisecond)
				_, s := tracer.Start(context.Background(), "last")
				s.End()
				if err := p.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
				list = out.list
			})
			return list
		}
		got := run(func(e sdktrace.SpanExporter) interface {
			trace.TracerProvider
			Shutdown(context.Context) error
			ForceFlush(context.Context) error
		} {
			return New(Settings{Exporters: []Exporter{{Name: "exports", SpanExporter: e}}})
		})
		want := run(func(e sdktrace.SpanExporter) interface {
			trace.TracerProvider
			Shutdown(context.Context) error
			ForceFlush(context.Context) error
		} {
			return sdktrace.NewTracerProvider(sdktrace.WithBatcher(e))
		})
		if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
			t.Errorf("batches of %s, every %s ms:\ngot  %s\nwant %s", c.size, c.delay, g, w)
		}
	}
}
