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
	t.Parallel()
	lanes(t, func(t *testing.T, lane server.Lane) {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(strings.TrimSuffix(protocol, "/protobuf"), func(t *testing.T) {
				t.Parallel()
				testTraces(t, lane, protocol)
			})
		}
	}, server.Quick, server.Full)
}

// Of a service that samples, every failed request still has its whole trace,
// and an exemplar names only what the collector got.
func TestSampledServiceKeepsItsFailures(t *testing.T) {
	t.Parallel()
	lanes(t, func(t *testing.T, _ server.Lane) {
		collector := server.StartCollector(t, server.CollectorConfig{})
		env := append(otlp("http/protobuf", collector.HTTP), "OTEL_BSP_MAX_QUEUE_SIZE=65536",
			"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.2")
		pay := startQuickstart(t, env, "-service", "pay", "-rate", "0")
		shop := startQuickstart(t, env, "-pay", pay.url, "-load", "8s", "-rate", "200")
		r := shop.wait(t)
		requests, failures := 0, 0
		for _, route := range r.Routes {
			requests += route.Count
			failures += route.Errors
		}
		if failures < 3 {
			t.Fatalf("the load had %d failures of %d, too few to prove anything", failures, requests)
		}
		named := exemplars(t, shop)
		shop.Stop() // which sends what is left
		pay.Stop()

		traces, whole, broken := assemble(collector.Spans(t))
		roots, failed := 0, 0
		for id, trace := range traces {
			for _, s := range trace {
				if s.ParentID == "" && s.Kind == "server" && s.Service == "shop" {
					roots++
					if s.Attributes["http.response.status_code"] == "502" {
						failed++
						for _, b := range broken {
							if strings.Contains(b, id) {
								t.Errorf("the trace of a failed order is not whole: %s", b)
							}
						}
					}
				}
			}
		}
		t.Logf("%d of %d requests were sampled or kept, %d of %d failures among them; %d whole", roots, requests, failed, failures, len(whole))
		if failed != failures {
			t.Errorf("%d of %d failed requests have a trace", failed, failures)
		}
		// A fifth of 1600 is 320, with a standard deviation of 16; slow ones may be kept on top.
		if share := float64(roots-failed) / float64(requests); share < 0.14 || share > 0.30 {
			t.Errorf("%d of %d requests were sampled, a share of %.2f, want 0.2", roots, requests, share)
		}
		for _, e := range named {
			if !slices.ContainsFunc(traces[e.traceID], func(s server.Span) bool { return s.SpanID == e.spanID }) {
				t.Errorf("the exemplar of %s names trace %s, span %s, which the collector did not get", e.series, e.traceID, e.spanID)
			}
		}
		if len(named) == 0 {
			t.Error("no exemplars")
		}
	}, server.Quick)
}

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
	env := append(otlp(protocol, endpoint), "OTEL_BSP_MAX_QUEUE_SIZE=65536")
	pay := startQuickstart(t, env, "-service", "pay", "-rate", "0")
	shop := startQuickstart(t, env, "-pay", pay.url, "-load", "6s", "-rate", "100", "-log")
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
			if s.Kind == "server" && s.Service == "shop" {
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
	traces, whole, broken := assemble(spans)
	for _, b := range broken[:min(3, len(broken))] {
		t.Errorf("not whole: %s", b)
	}
	for _, route := range r.Routes {
		if name := route.Method + " " + route.Route; whole[name] != route.Count {
			t.Errorf("%s: %d whole traces of %d requests", name, whole[name], route.Count)
		}
	}

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
	named := map[string]int{}
	for _, e := range exemplars(t, shop) {
		exists("the exemplar of "+e.series, e.traceID, e.spanID)
		named[e.metric]++
		if e.metric == "http_server_request_duration_seconds" {
			named[label(e.series, "http_route")]++
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
		if n := sumText(t, q.admin+"/metrics", "observe_dropped_total"); n != 0 {
			t.Errorf("%v dropped", n)
		}
	}
	// What the collector itself counts from the spans is what the clients counted.
	server.Eventually(t, 10*time.Second, func() error {
		counted := sumText(t, "http://"+collector.Metrics+"/metrics", "traces_span_metrics_calls_total", `span_kind="SPAN_KIND_SERVER"`, `span_name="POST /orders"`)
		for _, route := range r.Routes {
			if route.Route == "/orders" && counted != float64(route.Count) {
				return fmt.Errorf("the collector's own metrics count %v orders of %d", counted, route.Count)
			}
		}
		return nil
	})
	t.Logf("%d spans in %d traces; %d exemplars on the scrape, %d in Prometheus, %d log lines", len(spans), len(traces), len(named), len(kept), lines)
}

// assemble returns the spans by trace, how many traces of each route of the
// shop are whole, with the right parents, and those that are not.
func assemble(spans []server.Span) (traces map[string][]server.Span, whole map[string]int, broken []string) {
	traces, whole = map[string][]server.Span{}, map[string]int{}
	for _, s := range spans {
		traces[s.TraceID] = append(traces[s.TraceID], s)
	}
	for id, trace := range traces {
		var root *server.Span
		for i, s := range trace {
			if s.ParentID == "" && s.Kind == "server" && s.Service == "shop" {
				root = &trace[i]
			}
		}
		if root == nil {
			// The shop makes its tables before there is a request.
			if slices.ContainsFunc(trace, func(s server.Span) bool { return s.Kind == "server" }) {
				broken = append(broken, fmt.Sprintf("trace %s has server spans but no root in the shop: %+v", id, trace))
			}
			continue
		}
		// under returns the spans of a kind and process that a span began.
		under := func(of *server.Span, kind, in string) (found []*server.Span) {
			for i := range trace {
				if s := &trace[i]; s.ParentID == of.SpanID && s.Kind == kind && s.Service == in {
					found = append(found, s)
				}
			}
			return found
		}
		statements := func(of *server.Span) string {
			var ops []string
			for _, s := range under(of, "client", "shop") {
				if op := s.Attributes["db.operation.name"]; op != "" && op != "CONNECT" { // the pool opens a connection now and then
					ops = append(ops, op)
				}
			}
			slices.Sort(ops)
			return strings.Join(ops, " ")
		}
		route, status := root.Attributes["http.route"], root.Attributes["http.response.status_code"]
		name := root.Attributes["http.request.method"] + " " + route
		ok := false
		switch route {
		case "/products/{id}":
			ok = statements(root) == "SELECT"
		case "/orders":
			want := "INSERT SELECT"
			if status != "201" { // a payment that failed leaves no order
				want = "SELECT"
			}
			calls := slices.DeleteFunc(under(root, "client", "shop"), func(s *server.Span) bool { return s.Attributes["http.request.method"] == "" })
			if len(calls) == 1 && statements(root) == want {
				served := under(calls[0], "server", "pay")
				ok = len(served) == 1 && served[0].Attributes["http.route"] == "/charges" &&
					served[0].Attributes["http.response.status_code"] == calls[0].Attributes["http.response.status_code"]
			}
		case "/reports/daily":
			steps := map[string]*server.Span{}
			for _, s := range under(root, "internal", "shop") {
				steps[s.Name] = s
			}
			ok = len(steps) == 2 && steps["draw"] != nil && steps["add up"] != nil && statements(steps["add up"]) == "SELECT"
		}
		if ok {
			whole[name]++
		} else {
			broken = append(broken, fmt.Sprintf("%s %s: %+v", name, status, trace))
		}
	}
	return traces, whole, broken
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

type exemplar struct{ metric, series, traceID, spanID string }

var exemplarLine = regexp.MustCompile(`(?m)^(\w+?)_bucket\{(.*)\} \S+ # \{(.*)\}`)

// exemplars reads the exemplars on a scrape in the OpenMetrics format.
func exemplars(t *testing.T, q *quickstart) (found []exemplar) {
	t.Helper()
	text := fetch(t, q.admin+"/metrics", "application/openmetrics-text; version=1.0.0")
	for _, m := range exemplarLine.FindAllStringSubmatch(text, -1) {
		found = append(found, exemplar{m[1], m[2], label(m[3], "trace_id"), label(m[3], "span_id")})
	}
	return found
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
