package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

// Every request of the load is a whole trace across two processes, in a real
// collector and in Jaeger; what exemplars and log lines name is one of them.
func TestTracesArriveWhole(t *testing.T) {
	lanes(t, func(t *testing.T, lane server.Lane) {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(strings.TrimSuffix(protocol, "/protobuf"), func(t *testing.T) {
				t.Parallel()
				testTraces(t, lane, protocol)
			})
		}
	}, server.Quick, server.Full)
}

// process is the resource attribute by which the two processes are told apart.
const process = "e2e.process"

func testTraces(t *testing.T, lane server.Lane, protocol string) {
	var jaeger *server.Jaeger
	var config server.CollectorConfig
	if lane == server.Full {
		jaeger = server.StartJaeger(t)
		config.Jaeger = jaeger.GRPC
	}
	collector := server.StartCollector(t, config)
	endpoint := collector.HTTP
	if protocol == "grpc" {
		endpoint = collector.GRPC
	}
	env := func(name string) []string {
		return append(otlp(protocol, endpoint), "OTEL_RESOURCE_ATTRIBUTES="+process+"="+name, "OTEL_BSP_MAX_QUEUE_SIZE=65536")
	}
	pay := startQuickstart(t, env("pay"), "-rate", "0")
	shop := startQuickstart(t, env("shop"), "-pay", pay.url, "-load", "6s", "-rate", "100", "-log")
	prom := server.StartPrometheus(t, lane, server.PrometheusConfig{
		Targets: map[string]string{"shop": shop.adminAddr(), "pay": pay.adminAddr()}, Native: lane == server.Full,
	})
	r := shop.wait(t)
	prom.WaitScrape(t, "shop")

	// Every request of the load is there, as the root of its trace, in the collector ...
	var spans []server.Span
	server.Eventually(t, 15*time.Second, func() error {
		spans = collector.Spans(t)
		got := map[string]int{}
		for _, s := range spans {
			if s.Kind == "server" && s.Resource[process] == "shop" {
				got[s.Attributes["http.request.method"]+" "+s.Attributes["http.route"]]++
			}
		}
		var missing []string
		for _, route := range r.Routes {
			if name := route.Method + " " + route.Route; got[name] != route.Count {
				missing = append(missing, fmt.Sprintf("%d of %d requests %s", got[name], route.Count, name))
			}
		}
		if missing != nil {
			return fmt.Errorf("the collector has %s", strings.Join(missing, ", "))
		}
		return nil
	})
	traces := checkTraces(t, spans, r)

	// ... and in Jaeger, the same spans with the same parents.
	if jaeger != nil {
		for _, service := range services(spans) {
			if !slices.Contains(jaeger.Services(t), service) {
				t.Errorf("Jaeger knows %v, not %s", jaeger.Services(t), service)
			}
		}
		want := edges(collector.Spans(t))
		server.Eventually(t, 15*time.Second, func() error {
			var stored []server.Span
			for _, service := range services(spans) {
				stored = append(stored, jaeger.Spans(t, service)...)
			}
			got := edges(stored)
			for e := range want {
				if !got[e] {
					return fmt.Errorf("Jaeger has %d spans of %d; not %s", len(got), len(want), e)
				}
			}
			return nil
		})
	}

	// exists checks that a trace that something names can be looked up.
	looked := map[string]bool{}
	exists := func(what, traceID, spanID string) {
		t.Helper()
		if !slices.ContainsFunc(traces[traceID], func(s server.Span) bool { return s.SpanID == spanID }) {
			t.Errorf("%s names trace %q, span %q, which the collector did not get", what, traceID, spanID)
		}
		if jaeger == nil || looked[traceID] {
			return
		}
		looked[traceID] = true
		if !slices.ContainsFunc(jaeger.Trace(t, traceID), func(s server.Span) bool { return s.SpanID == spanID }) {
			t.Errorf("%s names trace %q, span %q, which Jaeger does not return", what, traceID, spanID)
		}
	}

	// The exemplars on the scrape itself.
	text := fetch(t, shop.admin+"/metrics", "application/openmetrics-text; version=1.0.0")
	named := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^(\w+?)_bucket\{(.*)\} \S+ # \{(.*)\}`).FindAllStringSubmatch(text, -1) {
		exists("the exemplar of "+m[1]+"{"+m[2]+"}", label(m[3], "trace_id"), label(m[3], "span_id"))
		named[m[1]]++
		if m[1] == "http_server_request_duration_seconds" {
			named[label(m[2], "http_route")]++
		}
	}
	for _, name := range []string{"http_client_request_duration_seconds", "db_client_operation_duration_seconds", "/products/{id}", "/orders", "/reports/daily"} {
		if named[name] == 0 {
			t.Errorf("no exemplar of %s on the scrape", name)
		}
	}
	// The exemplars that Prometheus kept.
	selector := `http_server_request_duration_seconds_bucket{job="shop"}`
	if lane == server.Full {
		selector = `http_server_request_duration_seconds{job="shop"}`
	}
	kept := prom.Exemplars(t, selector)
	for _, e := range kept {
		exists("the exemplar in Prometheus of "+fmt.Sprint(e.Series), e.Labels["trace_id"], e.Labels["span_id"])
	}
	if len(kept) < 3 {
		t.Errorf("Prometheus has %d exemplars of %s", len(kept), selector)
	}
	// The log lines.
	lines := 0
	for line := range strings.Lines(shop.Log()) {
		var record struct {
			Msg     string
			TraceID string `json:"trace_id"`
			SpanID  string `json:"span_id"`
		}
		if json.Unmarshal([]byte(line), &record) == nil && record.Msg == "order paid" {
			exists("the log line "+line, record.TraceID, record.SpanID)
			lines++
		}
	}
	if lines == 0 {
		t.Errorf("no log line of a paid order")
	}

	for _, q := range []*quickstart{shop, pay} {
		for line := range strings.Lines(fetch(t, q.admin+"/metrics", "")) {
			if strings.HasPrefix(line, "observe_dropped_total{") && !strings.HasSuffix(line, " 0\n") {
				t.Errorf("dropped: %s", line)
			}
		}
	}
	t.Logf("%d spans in %d traces; %d exemplars on the scrape, %d in Prometheus, %d log lines", len(spans), len(traces), len(named), len(kept), lines)
}

// checkTraces checks that the spans of each request of the shop are one trace
// with the right parents, and returns the spans by trace.
func checkTraces(t *testing.T, spans []server.Span, r report) map[string][]server.Span {
	t.Helper()
	traces := map[string][]server.Span{}
	for _, s := range spans {
		traces[s.TraceID] = append(traces[s.TraceID], s)
	}
	whole := map[string]int{}
	for id, trace := range traces {
		var root *server.Span
		for i, s := range trace {
			if s.ParentID == "" && s.Kind == "server" && s.Resource[process] == "shop" {
				root = &trace[i]
			}
		}
		if root == nil {
			// The shop makes its tables before there is a request.
			if slices.ContainsFunc(trace, func(s server.Span) bool { return s.Kind == "server" }) {
				t.Errorf("trace %s has server spans but no root in the shop: %+v", id, trace)
			}
			continue
		}
		children := func(of *server.Span, kind, process_, attribute string) (found []server.Span) {
			for _, s := range trace {
				if s.ParentID == of.SpanID && s.Kind == kind && s.Resource[process] == process_ && s.Attributes[attribute] != "" {
					found = append(found, s)
				}
			}
			return found
		}
		route, status := root.Attributes["http.route"], root.Attributes["http.response.status_code"]
		name := root.Attributes["http.request.method"] + " " + route
		statements := len(children(root, "client", "shop", "db.operation.name"))
		ok := true
		switch route {
		case "/products/{id}":
			ok = statements == 1
		case "/orders": // a payment that failed leaves no order
			calls := children(root, "client", "shop", "http.request.method")
			ok = len(calls) == 1 && (statements == 2) == (status == "201") && statements >= 1
			if ok {
				served := children(&calls[0], "server", "pay", "http.route")
				ok = len(served) == 1 && served[0].Attributes["http.route"] == "/charges" &&
					served[0].Attributes["http.response.status_code"] == calls[0].Attributes["http.response.status_code"]
			}
		case "/reports/daily":
			ok = false
			for i := range trace {
				if s := &trace[i]; s.ParentID == root.SpanID && s.Name == "add up" {
					ok = len(children(s, "client", "shop", "db.operation.name")) == 1
				}
			}
		}
		if ok {
			whole[name]++
		} else if whole["broken"]++; whole["broken"] <= 3 {
			t.Errorf("%s %s: the trace is not whole: %+v", name, status, trace)
		}
	}
	for _, route := range r.Routes {
		if name := route.Method + " " + route.Route; whole[name] != route.Count {
			t.Errorf("%s: %d whole traces of %d requests", name, whole[name], route.Count)
		}
	}
	return traces
}

func services(spans []server.Span) []string {
	names := map[string]bool{}
	for _, s := range spans {
		names[s.Service] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// edges are the spans with their parents, to compare what two servers hold.
func edges(spans []server.Span) map[string]bool {
	set := map[string]bool{}
	for _, s := range spans {
		set[fmt.Sprintf("%s: %s of %q, %s %s", s.TraceID, s.SpanID, s.ParentID, s.Kind, s.Name)] = true
	}
	return set
}

// label returns the value of a label in `a="b",c="d"`.
func label(labels, name string) string {
	for pair := range strings.SplitSeq(labels, ",") {
		if k, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && k == name {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}
