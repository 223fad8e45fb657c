package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Span is a span as a backend returned it.
type Span struct {
	TraceID, SpanID, ParentID string
	Service, Name             string
	Kind                      string // server, client, internal, producer, consumer
	Attributes                map[string]string
	Resource                  map[string]string
}

// CollectorConfig says where a collector sends what it receives.
type CollectorConfig struct {
	// Jaeger is the host:port of Jaeger's OTLP/gRPC receiver; none when empty.
	Jaeger string
}

// Collector is a running OpenTelemetry Collector. It writes every span it
// acknowledges to a file first, so that nothing acknowledged is lost when it is killed.
type Collector struct {
	*Process
	// GRPC and HTTP are the host:port of its OTLP receivers.
	GRPC, HTTP string
	// Metrics is the host:port where the metrics made from its spans are scraped.
	Metrics string

	dir    string
	again  Command
	parent testing.TB
}

// StartCollector starts a collector.
func StartCollector(t testing.TB, c CollectorConfig) *Collector {
	t.Helper()
	path := Binary(t, "collector", "collector")
	col := &Collector{dir: t.TempDir(), parent: t}
	col.Process = StartOnPorts(t, 4, func(ports []string) Command {
		col.GRPC, col.HTTP, col.Metrics = "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1], "127.0.0.1:"+ports[2]
		health := "127.0.0.1:" + ports[3]
		jaeger, pipeline := "", ""
		if c.Jaeger != "" {
			jaeger = fmt.Sprintf("  otlp_grpc/jaeger: {endpoint: %q, tls: {insecure: true}}\n", c.Jaeger)
			pipeline = "    traces/jaeger: {receivers: [otlp], processors: [batch], exporters: [otlp_grpc/jaeger]}\n"
		}
		file := writeFile(t, "collector.yaml", fmt.Sprintf(`
extensions:
  health_check: {endpoint: %q}
receivers:
  otlp: {protocols: {grpc: {endpoint: %q}, http: {endpoint: %q}}}
processors:
  batch: {timeout: 100ms}
connectors:
  span_metrics: {metrics_flush_interval: 500ms}
exporters:
  # Only with rotation does the exporter write without a buffer.
  file/traces: {path: %q, rotation: {max_megabytes: 10000}}
  file/metrics: {path: %q, rotation: {max_megabytes: 10000}}
  file/logs: {path: %q, rotation: {max_megabytes: 10000}}
  prometheus: {endpoint: %q}
%sservice:
  extensions: [health_check]
  telemetry: {metrics: {level: none}, logs: {level: warn}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file/traces]}
    traces/spanmetrics: {receivers: [otlp], exporters: [span_metrics]}
    metrics/spanmetrics: {receivers: [span_metrics], exporters: [prometheus]}
    metrics: {receivers: [otlp], exporters: [file/metrics]}
    logs: {receivers: [otlp], exporters: [file/logs]}
%s`, health, col.GRPC, col.HTTP, filepath.Join(col.dir, "traces"), filepath.Join(col.dir, "metrics"),
			filepath.Join(col.dir, "logs"), col.Metrics, jaeger, pipeline))
		col.again = Command{
			Name: "collector", Path: path, Dir: col.dir, Health: "http://" + health + "/",
			Args: []string{"--config=file:" + file},
		}
		return col.again
	})
	return col
}

// Restart starts the collector again after Kill or Stop, on the same ports and files.
func (c *Collector) Restart() {
	c.parent.Helper()
	c.Process = Start(c.parent, c.again)
}

// Spans returns every span received so far, each span once.
func (c *Collector) Spans(t testing.TB) []Span {
	t.Helper()
	type attributes []struct {
		Key   string
		Value map[string]any
	}
	flat := func(as attributes) map[string]string {
		m := map[string]string{}
		for _, a := range as {
			for _, v := range a.Value { // one entry, named by the value's type
				m[a.Key] = fmt.Sprint(v)
			}
		}
		return m
	}
	var spans []Span
	seen := map[string]bool{}
	for _, record := range c.Records(t, "traces") {
		var batch struct {
			ResourceSpans []struct {
				Resource   struct{ Attributes attributes }
				ScopeSpans []struct {
					Spans []struct {
						TraceID, SpanID, ParentSpanID, Name string
						Kind                                int
						Attributes                          attributes
					}
				}
			}
		}
		if err := json.Unmarshal(record, &batch); err != nil {
			t.Fatalf("collector: %v", err)
		}
		for _, r := range batch.ResourceSpans {
			resource := flat(r.Resource.Attributes)
			for _, scope := range r.ScopeSpans {
				for _, s := range scope.Spans {
					if seen[s.TraceID+s.SpanID] { // sent twice: the first answer was lost
						continue
					}
					seen[s.TraceID+s.SpanID] = true
					kinds := []string{"unspecified", "internal", "server", "client", "producer", "consumer"}
					spans = append(spans, Span{
						TraceID: s.TraceID, SpanID: s.SpanID, ParentID: s.ParentSpanID, Service: resource["service.name"],
						Name: s.Name, Kind: kinds[s.Kind], Attributes: flat(s.Attributes), Resource: resource,
					})
				}
			}
		}
	}
	return spans
}

// Records returns what was received of a signal, "traces", "metrics" or
// "logs": one JSON object of the OTLP format for each export.
func (c *Collector) Records(t testing.TB, signal string) (records []json.RawMessage) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.dir, signal))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		var record json.RawMessage
		err := d.Decode(&record)
		if err == io.EOF || err == io.ErrUnexpectedEOF { // the last one is being written, or was when the collector was killed
			return records
		}
		if err != nil {
			t.Fatalf("collector: %s: %v", signal, err)
		}
		records = append(records, record)
	}
}
