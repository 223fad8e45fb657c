package benchmarks

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const (
	asText     = "text/plain; version=0.0.4"
	asProtobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

var statuses = []int{200, 201, 404, 500, 503}

// BenchmarkScrape is one scrape of the request durations of 100 routes with 5
// statuses each, in 14 buckets, and of the Go runtime and the process.
func BenchmarkScrape(b *testing.B) {
	classic := func(b *testing.B) http.Handler { return clientGolang(b, 0) }
	both := func(b *testing.B) http.Handler { return clientGolang(b, 1.1) }
	for _, p := range []struct {
		name, accept string
		open         func(*testing.B) http.Handler
	}{
		{"client_golang-text", asText, classic},
		{"client_golang-protobuf", asProtobuf, classic},
		{"client_golang-native-too-text", asText, both},
		{"client_golang-native-too-protobuf", asProtobuf, both},
		{"otel-text", asText, otelScrape},
		{"observe-text", asText, observeScrape},
		{"observe-protobuf", asProtobuf, observeScrape},
	} {
		b.Run(p.name, func(b *testing.B) {
			h := p.open(b)
			r := httptest.NewRequest("GET", "/metrics", nil)
			r.Header.Set("Accept", p.accept)
			w := &response{header: http.Header{}}
			var size int
			measure(b, func() {
				clear(w.header)
				w.written = 0
				h.ServeHTTP(w, r)
				size = w.written
			})
			b.ReportMetric(float64(size), "page-B")
		})
	}
}

// eachSeries gives every route and status a few durations, over several buckets.
func eachSeries(record func(route string, status int, seconds float64)) {
	for i := range 100 {
		for _, status := range statuses {
			for n := range 20 {
				record(fmt.Sprintf("/api/v1/resource%d/{id}", i), status, 0.001*float64(1+i%7)*float64(1+n))
			}
		}
	}
}

func clientGolang(_ *testing.B, factor float64) http.Handler {
	registry := prometheus.NewRegistry()
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "http_server_request_duration_seconds", Help: "Duration of requests.", Buckets: seconds, NativeHistogramBucketFactor: factor,
	}, []string{"http_request_method", "http_route", "http_response_status_code", "url_scheme"})
	registry.MustRegister(h, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	eachSeries(func(route string, status int, s float64) {
		h.WithLabelValues("GET", route, fmt.Sprint(status), "http").Observe(s)
	})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})
}

func otelScrape(b *testing.B) http.Handler {
	p, registry := otelMetrics(b)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	h, err := p.Meter("benchmarks").Float64Histogram("http.server.request.duration", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(seconds...))
	if err != nil {
		b.Fatal(err)
	}
	eachSeries(func(route string, status int, s float64) {
		h.Record(background, s, metric.WithAttributes(attribute.String("http.request.method", "GET"), attribute.String("http.route", route),
			attribute.Int("http.response.status_code", status), attribute.String("url.scheme", "http")))
	})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})
}
