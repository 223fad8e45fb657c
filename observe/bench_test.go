package observe

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/loadline-go/loadline/tracing"
)

// discard is an exporter that takes everything.
type discard struct{}

func (discard) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discard) Shutdown(context.Context) error                             { return nil }

// quietWriter is the cheapest response writer, so that a benchmark sees the wrapper.
type quietWriter struct{ h http.Header }

func (w *quietWriter) Header() http.Header         { return w.h }
func (w *quietWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *quietWriter) WriteHeader(int)             {}

func itemsMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok")) })
	return mux
}

func itemsRequest() *http.Request {
	r := httptest.NewRequest("GET", "/items/42", nil)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	return r
}

func BenchmarkHandler(b *testing.B) {
	run := func(name string, h func(b *testing.B) http.Handler) {
		b.Run(name, func(b *testing.B) {
			h := h(b)
			r := itemsRequest()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				w := &quietWriter{http.Header{}}
				for pb.Next() {
					h.ServeHTTP(w, r)
				}
			})
		})
	}
	with := func(s sdktrace.Sampler, e sdktrace.SpanExporter) func(b *testing.B) http.Handler {
		return func(b *testing.B) http.Handler {
			return start(b, Config{Tracing: tracing.Config{Sampler: s, Exporter: e}}).Handler(itemsMux())
		}
	}
	run("bare", func(*testing.B) http.Handler { return itemsMux() })
	run("notsampled", with(sdktrace.NeverSample(), discard{}))
	run("profiled", func(b *testing.B) http.Handler {
		tel := start(b, Config{Tracing: tracing.Config{Sampler: sdktrace.NeverSample(), Exporter: discard{}}})
		b.Cleanup(tel.server.watch())
		return tel.Handler(itemsMux())
	})
	run("sampled", with(sdktrace.AlwaysSample(), discard{}))
}
