package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// Asked for metrics and logs by OTLP, a service sends the same counts that it
// shows on its scrape, and its log records with the trace they belong to.
func TestMetricsAndLogsByOTLP(t *testing.T) {
	t.Parallel()
	lanes(t, func(t *testing.T, _ server.Lane) {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(strings.TrimSuffix(protocol, "/protobuf"), func(t *testing.T) {
				t.Parallel()
				collector := server.StartCollector(t, server.CollectorConfig{})
				endpoint := collector.HTTP
				if protocol == "grpc" {
					endpoint = collector.GRPC
				}
				shop := startQuickstart(t, append(otlp(protocol, endpoint),
					"OTEL_METRICS_EXPORTER=otlp", "OTEL_METRIC_EXPORT_INTERVAL=500",
					"OTEL_LOGS_EXPORTER=otlp", "OTEL_BLRP_SCHEDULE_DELAY=200"), "-load", "4s", "-rate", "100", "-log")
				r := shop.wait(t)
				server.Eventually(t, 15*time.Second, func() error {
					counts := otlpCounts(t, collector, "http_server_request_duration_seconds", "http.server.request.duration")
					for _, route := range r.Routes {
						if got := counts[route.Route]; got != route.Count {
							return fmt.Errorf("%s: %d requests by OTLP, the clients counted %d (%v)", route.Route, got, route.Count, counts)
						}
					}
					return nil
				})
				paid := 0
				for _, route := range r.Routes {
					if route.Route == "/orders" {
						paid = route.Statuses["201"]
					}
				}
				server.Eventually(t, 15*time.Second, func() error {
					records := otlpTraceIDs(t, collector, "order paid")
					if len(records) != paid {
						return fmt.Errorf("%d log records of %d paid orders", len(records), paid)
					}
					known := map[string]bool{}
					for _, s := range collector.Spans(t) {
						known[s.TraceID] = true
					}
					for _, id := range records {
						if !known[id] {
							return fmt.Errorf("a log record names trace %q, which the collector did not get", id)
						}
					}
					return nil
				})
			})
		}
	}, server.Quick)
}

type otlpAttributes []struct {
	Key   string
	Value struct{ StringValue string }
}

func (as otlpAttributes) get(keys ...string) string {
	for _, a := range as {
		for _, key := range keys {
			if a.Key == key {
				return a.Value.StringValue
			}
		}
	}
	return ""
}

// otlpCounts returns the latest cumulative counts of a histogram by route.
func otlpCounts(t *testing.T, c *server.Collector, names ...string) map[string]int {
	t.Helper()
	type points struct {
		DataPoints []struct {
			Attributes otlpAttributes
			Count      string
		}
	}
	counts := map[string]int{}
	for _, record := range c.Records(t, "metrics") {
		var batch struct {
			ResourceMetrics []struct {
				ScopeMetrics []struct {
					Metrics []struct {
						Name                            string
						Histogram, ExponentialHistogram points
					}
				}
			}
		}
		if err := json.Unmarshal(record, &batch); err != nil {
			t.Fatal(err)
		}
		for _, r := range batch.ResourceMetrics {
			for _, scope := range r.ScopeMetrics {
				for _, m := range scope.Metrics {
					if m.Name != names[0] && m.Name != names[1] {
						continue
					}
					clear(counts) // cumulative: the latest counts
					for _, p := range append(m.Histogram.DataPoints, m.ExponentialHistogram.DataPoints...) {
						n, err := strconv.Atoi(p.Count)
						if err != nil {
							t.Fatal(err)
						}
						counts[p.Attributes.get("http_route", "http.route")] += n
					}
				}
			}
		}
	}
	return counts
}

// otlpTraceIDs returns the trace IDs of the log records with a message.
func otlpTraceIDs(t *testing.T, c *server.Collector, message string) (ids []string) {
	t.Helper()
	for _, record := range c.Records(t, "logs") {
		var batch struct {
			ResourceLogs []struct {
				ScopeLogs []struct {
					LogRecords []struct {
						Body    struct{ StringValue string }
						TraceID string
					}
				}
			}
		}
		if err := json.Unmarshal(record, &batch); err != nil {
			t.Fatal(err)
		}
		for _, r := range batch.ResourceLogs {
			for _, scope := range r.ScopeLogs {
				for _, l := range scope.LogRecords {
					if l.Body.StringValue == message {
						ids = append(ids, l.TraceID)
					}
				}
			}
		}
	}
	return ids
}
