package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// Jaeger is a running Jaeger with its storage in memory.
type Jaeger struct {
	*Process
	// URL is its query API.
	URL string
	// GRPC and HTTP are the host:port of its OTLP receivers.
	GRPC, HTTP string
}

// StartJaeger starts Jaeger.
func StartJaeger(t testing.TB) *Jaeger {
	t.Helper()
	path := Binary(t, "jaeger", "jaeger")
	j := &Jaeger{}
	j.Process = StartOnPorts(t, 7, func(ports []string) Command {
		addr := func(i int) string { return "127.0.0.1:" + ports[i] }
		j.URL, j.GRPC, j.HTTP = "http://"+addr(0), addr(2), addr(3)
		return Command{
			Name: "jaeger", Path: path, Health: "http://" + addr(6) + "/",
			Args: []string{
				"--query.http-server.host-port=" + addr(0),
				"--query.grpc-server.host-port=" + addr(1),
				"--collector.otlp.grpc.host-port=" + addr(2),
				"--collector.otlp.http.host-port=" + addr(3),
				"--collector.http-server.host-port=" + addr(4),
				"--collector.grpc-server.host-port=" + addr(5),
				"--admin.http.host-port=" + addr(6),
				"--log-level=warn",
			},
			Env: []string{"SPAN_STORAGE_TYPE=memory"},
			// It takes 10 s to end by itself and has nothing to save.
			Grace: 100 * time.Millisecond,
		}
	})
	return j
}

// Services returns the names of the services that Jaeger has spans of.
func (j *Jaeger) Services(t testing.TB) (services []string) {
	t.Helper()
	if err := j.get("/api/services", nil, &services); err != nil {
		t.Fatal(err)
	}
	return services
}

// Trace returns the spans of a trace, none when Jaeger does not know it.
func (j *Jaeger) Trace(t testing.TB, id string) []Span {
	t.Helper()
	return j.traces(t, "/api/traces/"+url.PathEscape(id), nil)
}

// Spans returns the spans of every trace that the service takes part in.
func (j *Jaeger) Spans(t testing.TB, service string) []Span {
	t.Helper()
	return j.traces(t, "/api/traces", url.Values{"service": {service}, "limit": {"1000000"}, "lookback": {"1h"}})
}

func (j *Jaeger) traces(t testing.TB, path string, query url.Values) (spans []Span) {
	t.Helper()
	type tags []struct {
		Key   string
		Value any
	}
	flat := func(ts tags) map[string]string {
		m := map[string]string{}
		for _, tag := range ts {
			m[tag.Key] = fmt.Sprint(tag.Value)
		}
		return m
	}
	var traces []struct {
		Spans []struct {
			TraceID, SpanID, OperationName, ProcessID string
			References                                []struct{ RefType, SpanID string }
			Tags                                      tags
		}
		Processes map[string]struct {
			ServiceName string
			Tags        tags
		}
	}
	if err := j.get(path, query, &traces); err != nil {
		t.Fatal(err)
	}
	for _, trace := range traces {
		for _, s := range trace.Spans {
			span := Span{
				TraceID: s.TraceID, SpanID: s.SpanID, Name: s.OperationName,
				Service: trace.Processes[s.ProcessID].ServiceName, Kind: "internal",
				Attributes: flat(s.Tags), Resource: flat(trace.Processes[s.ProcessID].Tags),
			}
			for _, r := range s.References {
				if r.RefType == "CHILD_OF" {
					span.ParentID = r.SpanID
				}
			}
			if kind := span.Attributes["span.kind"]; kind != "" {
				span.Kind = kind
			}
			spans = append(spans, span)
		}
	}
	return spans
}

func (j *Jaeger) get(path string, query url.Values, data any) error {
	resp, err := http.Get(j.URL + path + "?" + query.Encode())
	if err != nil {
		return fmt.Errorf("jaeger: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer := struct{ Data any }{data}
	if resp.StatusCode == http.StatusNotFound {
		return nil
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("jaeger: %s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("jaeger: %s: %w", path, err)
	}
	return nil
}
