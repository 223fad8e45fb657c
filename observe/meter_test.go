package observe

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"
)

func TestMetricsOfOtherLibrariesAreOnTheSameScrape(t *testing.T) {
	tel := start(t, Config{})
	meter := otel.Meter("their/library")
	seconds, err := meter.Float64Histogram("their.call.duration", metric.WithUnit("s"), metric.WithDescription("Calls."))
	if err != nil {
		t.Fatal(err)
	}
	seconds.Record(t.Context(), 0.02)
	database, _ := meter.Float64Histogram("db.client.their.duration", metric.WithUnit("s"))
	database.Record(t.Context(), 0.02)
	whole, _ := meter.Int64Histogram("their.batch.duration", metric.WithUnit("s"))
	whole.Record(t.Context(), 3)
	advised, _ := meter.Float64Histogram("their.slow.duration", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(60, 3600))
	advised.Record(t.Context(), 20)
	count, _ := meter.Int64Counter("their.calls")
	count.Add(t.Context(), 2, metric.WithAttributes(attribute.String("peer", "a")))

	for name, want := range map[string][]float64{
		"their_call_duration_seconds":      requestSeconds,
		"their_batch_duration_seconds":     requestSeconds,
		"db_client_their_duration_seconds": databaseSeconds,
		"their_slow_duration_seconds":      {60, 3600}, // what the library advises stands
	} {
		h := family(t, tel, name)[""].GetHistogram()
		var bounds []float64
		for _, b := range h.GetBucket() {
			bounds = append(bounds, b.GetUpperBound())
		}
		if !slices.Equal(bounds, want) || h.GetSampleCount() != 1 {
			t.Errorf("%s: %d values in buckets %v, want 1 in %v", name, h.GetSampleCount(), bounds, want)
		}
	}
	if got := family(t, tel, "their_calls_total")["peer=a"].GetCounter().GetValue(); got != 2 {
		t.Errorf("their_calls_total is %v; there is %v", got, family(t, tel, "their_calls_total"))
	}
}

func TestClashWithAnotherLibrarysMetricDoesNotSpoilTheScrape(t *testing.T) {
	tel := start(t, Config{})
	serveOne(tel)
	theirs, _ := otel.Meter("otelhttp").Float64Histogram("http.server.request.duration", metric.WithUnit("s"))
	theirs.Record(t.Context(), 1, metric.WithAttributes(attribute.String("server.address", "hostile")))
	body := scrape(t, tel, "")
	if !strings.Contains(body, `http_server_request_duration_seconds_count{`) || strings.Contains(body, "hostile") {
		t.Error("want our own family alone")
	}
	parse(t, body)
}

func TestSeriesOfOtherLibrariesAreBounded(t *testing.T) {
	tel := start(t, Config{MaxSeries: 50})
	count, _ := otel.Meter("their/library").Int64Counter("their.calls")
	for i := range 500 {
		count.Add(t.Context(), 1, metric.WithAttributes(attribute.Int("user", i)))
	}
	if got := len(family(t, tel, "their_calls_total")); got != 50 {
		t.Errorf("%d series, want 50", got)
	}
}

// receiver is an OTLP collector for metrics.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  map[string]*otlp.Metric
	from map[string]string // resource attributes
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{got: map[string]*otlp.Metric{}, from: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body := io.Reader(q.Body)
		if q.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(q.Body)
		}
		raw, err := io.ReadAll(body)
		var in collector.ExportMetricsServiceRequest
		if err == nil {
			err = proto.Unmarshal(raw, &in)
		}
		if err != nil || q.URL.Path != "/v1/metrics" {
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, rm := range in.ResourceMetrics {
			for _, a := range rm.Resource.Attributes {
				r.from[a.Key] = a.Value.GetStringValue()
			}
			for _, sm := range rm.ScopeMetrics {
				for _, m := range sm.Metrics {
					r.got[m.Name] = m
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

func TestMetricsArePushedWhenAskedFor(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_METRICS_EXPORTER", "otlp")
	t.Setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", r.URL+"/v1/metrics")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	tel, err := Start(t.Context(), Config{Service: "shop", Version: "1.2", AdminAddr: Off})
	if err != nil {
		t.Fatal(err)
	}
	serveOne(tel)
	NewCounter[struct{}](tel, Metric{Name: "shop_orders_total", Help: "Orders."}).Add(t.Context(), struct{}{}, 3)
	theirs, _ := otel.Meter("their/library").Float64Histogram("their.call.duration", metric.WithUnit("s"))
	theirs.Record(t.Context(), 0.02)
	if err := tel.Shutdown(t.Context()); err != nil { // sends the last interval
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.from["service.name"] != "shop" || r.from["service.version"] != "1.2" {
		t.Errorf("resource %v", r.from)
	}
	ours := r.got["http_server_request_duration_seconds"]
	var n uint64
	for _, p := range ours.GetExponentialHistogram().GetDataPoints() {
		n += p.Count
	}
	for _, p := range ours.GetHistogram().GetDataPoints() {
		n += p.Count
	}
	if n != 1 {
		t.Errorf("our request was not pushed: %v", ours)
	}
	if got := r.got["shop_orders_total"].GetSum().GetDataPoints(); len(got) != 1 || got[0].GetAsDouble() != 3 || !r.got["shop_orders_total"].GetSum().IsMonotonic {
		t.Errorf("the business counter was not pushed: %v", got)
	}
	if got := r.got["their.call.duration"].GetHistogram().GetDataPoints(); len(got) != 1 || !slices.Equal(got[0].ExplicitBounds, requestSeconds) {
		t.Errorf("their metric was not pushed in seconds: %v", got)
	}
	for _, name := range []string{"observe_dropped_total", "go_goroutines", "observe_build_info"} {
		if r.got[name] == nil {
			t.Errorf("%s was not pushed", name)
		}
	}
}

func TestUnreachableMetricsReceiverIsCountedAndLoggedOnceAMinute(t *testing.T) {
	t.Setenv("OTEL_METRICS_EXPORTER", "otlp")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+closedPort(t))
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
	t.Setenv("OTEL_METRIC_EXPORT_TIMEOUT", "20")
	var log lines
	tel, err := Start(t.Context(), Config{AdminAddr: Off, Logger: log.logger(), ShutdownTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	lost := func() float64 {
		return family(t, tel, "observe_dropped_total")["reason=export_failed signal=metrics"].GetCounter().GetValue()
	}
	first := 0.0
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if n := lost(); first == 0 {
			first = n
		} else if n > first {
			break // the second interval was lost too
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing was counted")
		}
	}
	err = tel.Shutdown(context.Background())
	if err == nil || !strings.Contains(err.Error(), "could not be sent") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Shutdown returned %v", err)
	}
	if got := strings.Count(log.String(), "level="); got != 1 || !strings.Contains(log.String(), "metrics could not be sent") {
		t.Errorf("%d records, want one:\n%s", got, log.String())
	}
}

// A collector refuses an export in which one exemplar has an ID of another size.
func TestExemplarsArePushedWithBinaryIDs(t *testing.T) {
	exemplar := func(trace, span string) []metricdata.Exemplar[float64] {
		return []metricdata.Exemplar[float64]{{TraceID: []byte(trace), SpanID: []byte(span)}}
	}
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	all := [][]metricdata.Exemplar[float64]{exemplar(trace, span), exemplar(trace, span), exemplar(trace, span), exemplar(trace, span)}
	scopes := []metricdata.ScopeMetrics{{Metrics: []metricdata.Metrics{
		{Data: metricdata.Sum[float64]{DataPoints: []metricdata.DataPoint[float64]{{Exemplars: all[0]}}}},
		{Data: metricdata.Gauge[float64]{DataPoints: []metricdata.DataPoint[float64]{{Exemplars: all[1]}}}},
		{Data: metricdata.Histogram[float64]{DataPoints: []metricdata.HistogramDataPoint[float64]{{Exemplars: all[2]}}}},
		{Data: metricdata.ExponentialHistogram[float64]{DataPoints: []metricdata.ExponentialHistogramDataPoint[float64]{{Exemplars: all[3]}}}},
	}}}
	if _, err := (binaryIDs{produced(scopes)}).Produce(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, e := range all {
		if got := fmt.Sprintf("%x %x", e[0].TraceID, e[0].SpanID); got != trace+" "+span {
			t.Errorf("%d: %s", i, got)
		}
	}
	for _, odd := range []string{"", "4bf9", strings.Repeat("g", 32), strings.Repeat("a", 33)} {
		e := exemplar(odd, odd)
		decodeIDs(e)
		if e[0].TraceID != nil || e[0].SpanID != nil {
			t.Errorf("%q became %x %x", odd, e[0].TraceID, e[0].SpanID)
		}
	}
	binary := exemplar("0123456789abcdef", "01234567")
	decodeIDs(binary)
	if string(binary[0].TraceID) != "0123456789abcdef" || string(binary[0].SpanID) != "01234567" {
		t.Errorf("binary IDs became %x %x", binary[0].TraceID, binary[0].SpanID)
	}
}

type produced []metricdata.ScopeMetrics

func (p produced) Produce(context.Context) ([]metricdata.ScopeMetrics, error) { return p, nil }
