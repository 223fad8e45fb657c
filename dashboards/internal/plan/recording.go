package plan

import (
	"fmt"
	"strings"
)

// Names of recorded series: what they are told apart by, what they are, how
// they were made. Dashboards do not use them, so that a page works without the
// rules being loaded; alerts do, so that a quantile is computed once.
const (
	// Each series of requests once, and each bucket of each route once: reading
	// the histograms of all instances is what costs, so it is done once and the
	// rest is made from these.
	served        = "job_instance_route_status:http_server_requests:rate5m"
	routeBuckets  = "job_route:http_server_request_duration_seconds_bucket:rate5m"
	routeDuration = "job_route:http_server_request_duration_seconds:rate5m" // native

	routeRequests    = "job_route:http_server_requests:rate5m"
	routeErrors      = "job_route:http_server_errors:rate5m"
	routeErrorRatio  = "job_route:http_server_errors:ratio_rate5m"
	routeP95         = "job_route:http_server_request_duration_seconds:p95_5m"
	routeP99         = "job_route:http_server_request_duration_seconds:p99_5m"
	jobRequests      = "job:http_server_requests:rate5m"
	instanceRequests = "job_instance:http_server_requests:rate5m"
	instanceErrors   = "job_instance:http_server_errors:ratio_rate5m"
	instanceSched    = "job_instance:go_schedule_duration_seconds:p99_5m"
	instanceGC       = "job_instance:go_gc_cpu:ratio_rate5m"
	instanceCPU      = "job_instance:process_cpu_of_limit:ratio_rate5m"
	instanceMemory   = "job_instance:go_memory_of_limit:ratio"
	instanceThrottle = "job_instance:cpu_throttled_periods:ratio_rate5m"
	calleeCalls      = "job_dependency:calls:rate5m"
	calleeErrors     = "job_dependency:errors:rate5m"
	calleeErrorRatio = "job_dependency:errors:ratio_rate5m"
	calleeP95        = "job_dependency:duration_seconds:p95_5m"
)

func (c Config) recording() Group {
	s := inRule
	failed := served + "{" + serverError + "}"
	g := Group{Name: "loadline-recording", Records: []Record{
		{Name: served, Expr: s.count(serverRequests, "cluster", "namespace", "job", "instance", "http_request_method", "http_route", "http_response_status_code")},
		{Name: routeRequests, Expr: sum(served, perRoute...)},
		{Name: routeErrors, Expr: sum(failed, perRoute...) + " or 0 * " + routeRequests},
		{Name: routeErrorRatio, Expr: ratio(routeErrors, routeRequests)},
		{Name: jobRequests, Expr: sum(served, perJob...)},
		{Name: instanceRequests, Expr: sum(served, perInstance...)},
		{Name: instanceErrors, Expr: "(" + sum(failed, perInstance...) + " or 0 * " + instanceRequests + ") / (" + instanceRequests + " > 0)"},
		{Name: instanceSched, Expr: s.quantile(0.99, schedWait, perInstance...)},
		{Name: instanceGC, Expr: s.gcShare(perInstance...)},
		{Name: instanceCPU, Expr: s.cpuShare(perInstance...)},
		{Name: instanceThrottle, Expr: s.throttleShare(perInstance...)},
		{Name: instanceMemory, Expr: s.memoryShare(perInstance...)},
	}}
	for _, k := range callKinds {
		labels := map[string]string{"kind": string(k)}
		native := append([]string{"cluster", "namespace", "job"}, k.labels()...)
		g.Records = append(g.Records,
			Record{Name: calleeCalls, Labels: labels, Expr: sum(byCallee(k, s.count(k.metric(), native...)), perCallee...)},
			Record{Name: calleeErrors, Labels: labels, Expr: sum(byCallee(k, s.where(k.failed()).count(k.metric(), native...)), perCallee...) +
				// Without kind, which both sides get from the rule.
				"\nor 0 * " + sum(calleeCalls+`{kind="`+string(k)+`"}`, perCallee...)},
			Record{Name: calleeP95, Labels: labels, Expr: most(byCallee(k, s.quantile(0.95, k.metric(), native...)), perCallee...)},
		)
	}
	g.Records = append(g.Records, Record{Name: calleeErrorRatio, Expr: ratio(calleeErrors, calleeCalls)})
	return g
}

// latencies are in a group of their own, which Prometheus evaluates beside the
// other. What a native histogram tells is not recorded once more as buckets.
func (c Config) latencies() Group {
	s := inRule
	return Group{Name: "loadline-latency-recording", Records: []Record{
		{Name: routeDuration, Expr: sum(s.rate(serverRequests), perRoute...)},
		{Name: routeBuckets, Expr: sum(s.rate(serverRequests+"_bucket"), append([]string{"le"}, perRoute...)...) +
			"\nunless " + on(perRoute) + " " + routeDuration},
		{Name: routeP95, Expr: recordedQuantile(0.95)},
		{Name: routeP99, Expr: recordedQuantile(0.99)},
	}}
}

// recordedQuantile is scope.quantile over what was recorded for each route.
func recordedQuantile(q float64) string {
	return fmt.Sprintf("histogram_quantile(%g, %s) or histogram_quantile(%g, %s)", q, routeDuration, q, routeBuckets)
}

// Groups returns the recording rules, then the alerts.
func (c Config) Groups() []Group {
	groups := []Group{
		c.recording(),
		c.latencies(),
		c.sloRecording(),
		c.sloSums(),
		findings(),
		{Name: "loadline-slo", SLO: true, Alerts: c.sloAlerts()},
		{Name: "loadline-http", Alerts: c.httpAlerts()},
		{Name: "loadline-runtime", Alerts: c.runtimeAlerts()},
		{Name: "loadline-leaks", Alerts: c.leakAlerts()},
		{Name: "loadline-dependencies", Alerts: c.dependencyAlerts()},
		{Name: "loadline-doctor", Alerts: c.doctorAlerts()},
		{Name: "loadline-jobs", Alerts: c.jobAlerts()},
		{Name: "loadline-availability", Alerts: c.availabilityAlerts()},
		{Name: "loadline-telemetry", Alerts: c.telemetryAlerts()},
	}
	if g := c.businessRules(); len(g.Records) > 0 {
		groups = append(groups, g)
	}
	return groups
}

// Alerts returns every alert of every group.
func (c Config) Alerts() []Alert {
	var all []Alert
	for _, g := range c.Groups() {
		all = append(all, g.Alerts...)
	}
	return all
}

// on matches two sides by labels only.
func on(labels []string) string { return "on (" + strings.Join(labels, ", ") + ")" }
