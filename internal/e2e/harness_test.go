package e2e

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/trace"
)

func TestHarness(t *testing.T) {
	for _, lane := range []server.Lane{server.Quick, server.Full} {
		t.Run(string(lane), func(t *testing.T) {
			reg := prometheus.NewRegistry()
			h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x_seconds", Help: "x", NativeHistogramBucketFactor: 1.1, Buckets: prometheus.DefBuckets, NativeHistogramMaxExemplars: 10})
			reg.MustRegister(h)
			s := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
			defer s.Close()
			for i := range 1000 {
				h.(prometheus.ExemplarObserver).ObserveWithExemplar(float64(i)/1000, prometheus.Labels{"trace_id": fmt.Sprintf("%032x", i)})
			}
			rules := t.TempDir() + "/r.yml"
			writeRule(t, rules)
			hook := server.StartWebhook(t)
			am := server.StartAlertmanager(t, lane, hook)
			addr := strings.TrimPrefix(s.URL, "http://")
			began := time.Now()
			for _, native := range []bool{false, true} {
				p := server.StartPrometheus(t, lane, server.PrometheusConfig{Targets: map[string]string{"x": addr}, Native: native, Rules: []string{rules}, Alertmanager: am.Addr})
				p.WaitScrape(t, "x")
				t.Log(native, p.Query(t, `histogram_quantile(0.9, x_seconds)`), p.Query(t, `histogram_quantile(0.9, x_seconds_bucket)`), p.Query(t, `x_seconds_count or histogram_count(x_seconds)`), len(p.Exemplars(t, `x_seconds`)), len(p.Exemplars(t, `x_seconds_bucket`)), p.Rules(t))
			}
			server.Eventually(t, 10*time.Second, func() error {
				if len(hook.Alerts()) == 0 {
					return fmt.Errorf("no alert")
				}
				return nil
			})
			t.Log(hook.Alerts(), time.Since(began))
			out, err := server.Promtool(t, lane, nil, "check", "rules", rules)
			t.Log(out, err)

			jaeger := ""
			var j *server.Jaeger
			if lane == server.Full {
				j = server.StartJaeger(t)
				jaeger = j.GRPC
			}
			c := server.StartCollector(t, server.CollectorConfig{Jaeger: jaeger})
			g, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(c.GRPC), otlptracegrpc.WithInsecure())
			if err != nil {
				t.Fatal(err)
			}
			hh, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpoint(c.HTTP), otlptracehttp.WithInsecure())
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range []trace.SpanExporter{g, hh} {
				if i == 1 {
					c.Kill()
					c.Restart()
				}
				tp := trace.NewTracerProvider(trace.WithBatcher(e))
				ctx, a := tp.Tracer("x").Start(context.Background(), "a")
				_, b := tp.Tracer("x").Start(ctx, "b")
				b.End()
				a.End()
				if err := tp.Shutdown(t.Context()); err != nil {
					t.Fatal(err)
				}
				t.Logf("%+v", c.Spans(t))
				if j != nil {
					server.Eventually(t, 5*time.Second, func() error {
						if n := len(j.Trace(t, a.SpanContext().TraceID().String())); n != 2 {
							return fmt.Errorf("%d", n)
						}
						return nil
					})
					t.Logf("%+v", j.Services(t))
					t.Logf("%+v", j.Spans(t, j.Services(t)[0]))
					t.Logf("%+v", j.Trace(t, "00000000000000000000000000000abc"))
				}
			}
		})
	}
}

func writeRule(t *testing.T, path string) {
	if err := os.WriteFile(path, []byte("groups: [{name: g, rules: [{alert: A, expr: 'vector(1)', annotations: {summary: s}}]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
