package plan

func (c Config) httpAlerts() []Alert {
	route := []string{"job", "http_request_method", "http_route"}
	return []Alert{
		{
			Name: "HTTPRouteErrorsHigh", Severity: Ticket, Category: "errors",
			Expr: routeErrorRatio + " > " + number(c.RouteErrors) +
				"\nand " + routeErrors + " * 300 >= 10",
			For:         "10m",
			Summary:     `{{ $labels.job }}: {{ $value | humanizePercentage }} of {{ $labels.http_request_method }} {{ $labels.http_route }} fails`,
			Description: `More than ` + percent(c.RouteErrors) + ` of this route's requests were answered with 5xx for 10 minutes, at least 10 in any 5 minutes.`,
			Advice: `Open the Service page for this route. "Errors by type" says what fails, "Where the time of a request goes" whether it waits for somebody.
Click an exemplar on the p99 panel: the first failed step of its trace is the place to look. If it began with a deploy (blue line), roll back first.`,
			Dashboard: ServiceUID, Vars: route,
		},
		{
			Name: "HTTPRouteErrorsCritical", Severity: Page, Category: "errors",
			Expr: routeErrorRatio + " > " + number(c.RouteErrorsPage) +
				"\nand " + routeErrors + " * 300 >= 30",
			For: "5m", Keep: "5m",
			Summary:     `{{ $labels.job }}: {{ $value | humanizePercentage }} of {{ $labels.http_request_method }} {{ $labels.http_route }} fails`,
			Description: `More than ` + percent(c.RouteErrorsPage) + ` of this route's requests were answered with 5xx for 5 minutes, at least 30 in any 5 minutes: users cannot work.`,
			Advice: `If it began with a deploy, roll back now and analyse later.
Otherwise look at "Failed calls" on the Service page: a dependency that fails at the same time is the cause; else open the exemplar's trace and the log lines with its trace_id.`,
			Dashboard: ServiceUID, Vars: route,
		},
		{
			Name: "HTTPRouteLatencyP99High", Severity: Ticket, Category: "latency",
			Expr: routeP99 + " > " + seconds(c.RouteP99) +
				"\nand " + routeRequests + " * 300 >= 100",
			For:         "10m",
			Summary:     `{{ $labels.job }}: p99 of {{ $labels.http_request_method }} {{ $labels.http_route }} is {{ $value | humanizeDuration }}`,
			Description: `One request in a hundred takes longer than ` + c.RouteP99.String() + `, for 10 minutes, at 100 requests in 5 minutes or more; below that, p99 is just the slowest one.`,
			Advice: `Read the Service page from the middle down: scheduler wait orange means the runtime (Runtime page); a dependency's p95 that rises together means them (Dependencies page); neither means the route's own code.
Ask the service itself: GET /debug/doctor on its admin address names the cause with its proof. Then open an exemplar's trace.`,
			Dashboard: ServiceUID, Vars: route,
		},
		{
			Name: "HTTPRouteLatencyRegressed", Severity: Info, Category: "latency",
			Expr: routeP95 + " / (avg_over_time(" + routeP95 + "[1h] offset 1d) + avg_over_time(" + routeP95 + "[1h] offset 7d)) > 1" +
				"\nand " + routeP95 + " > 0.1" +
				"\nand " + routeRequests + " * 300 >= 100",
			For:         "30m",
			Summary:     `{{ $labels.job }}: {{ $labels.http_request_method }} {{ $labels.http_route }} is {{ $value | printf "%.1f" }} times its p95 of yesterday and last week together`,
			Description: `p95 is above the sum of the p95 at this hour yesterday and a week ago, so more than twice their mean, for 30 minutes.`,
			Advice:      `Which deploy lies between? Compare the two versions' CPU and allocation profiles; then the calls to dependencies for one request.`,
			Dashboard:   ServiceUID, Vars: route,
		},
		{
			Name: "HTTPTrafficDropped", Severity: Ticket, Category: "traffic",
			Expr:        trafficAgainstUsual() + " < 0.3",
			For:         "10m",
			Summary:     `{{ $labels.job }}: traffic fell to {{ $value | humanizePercentage }} of what is usual`,
			Description: `Compared with the same half hour yesterday and a week ago, which had more than one request a second. Callers may be failing before they reach this service.`,
			Advice:      `Load balancer, DNS, certificates, deploys of callers. Do clients see errors before they reach us? A public holiday also looks like this.`,
			Dashboard:   ServiceUID, Vars: []string{"job"},
		},
		{
			Name: "HTTPTrafficSurge", Severity: Info, Category: "traffic",
			Expr:        trafficAgainstUsual() + " > 3",
			For:         "10m",
			Summary:     `{{ $labels.job }}: traffic is {{ $value | printf "%.1f" }} times the usual`,
			Description: `Compared with the same half hour yesterday and a week ago.`,
			Advice:      `Who? "Requests by route" and the access log of the load balancer. Then CPU of limit and pools on the Service page: scale, or limit the caller.`,
			Dashboard:   ServiceUID, Vars: []string{"job"},
		},
		{
			Name: "HTTPRequestsStuck", Severity: Page, Category: "availability",
			// A service of streams has requests in flight that end in hours; it is
			// told apart by having ended streams, or never having ended a request.
			Expr: "min_over_time((" + sum(serverActive, perInstance...) + ")[5m:30s]) >= 5" +
				"\nand " + on(perInstance) + " " + instanceRequests + " == 0" +
				"\nand " + on(perInstance) + " max_over_time(" + instanceRequests + "[6h]) > 0" +
				"\nunless " + on(perInstance) + " " + scope{window: "6h"}.count(serverStreams, perInstance...) + " > 0",
			For: "2m", Keep: "2m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} finishes none of its {{ $value | humanize }} requests`,
			Description: `At least 5 requests have been in flight for 5 minutes and not one has ended: a deadlock, or a dependency without a timeout.`,
			Advice: `Before restarting, keep the evidence: GET /debug/pprof/goroutine?debug=2 on the admin address, or SIGQUIT.
Many goroutines at one line: a lock there, or a call without a deadline. Then restart the instance.`,
			Dashboard: ServiceUID, Vars: []string{"job", "instance"},
		},
		{
			Name: "PanicsRecovered", Severity: Ticket, Category: "errors",
			Expr: born(panics, "10m", 0, "cluster", "namespace", "job", "http_route"),
			For:  "0s", Keep: "15m",
			Summary:     `{{ $labels.job }}: panics on {{ $labels.http_route }}, {{ $value | humanize }} in 10 minutes`,
			Description: `A handler panicked. The request was answered with 500, the program went on; the stack is in the log record.`,
			Advice:      `Find the log record by its route and time: it carries the stack and the trace_id. Not an incident by itself unless it is frequent.`,
			Dashboard:   ServiceUID, Vars: []string{"job", "http_route"},
		},
	}
}

// trafficAgainstUsual compares with the same half hour of yesterday and of a
// week ago, where there was more than a request a second.
func trafficAgainstUsual() string {
	return jobRequests + "\n/ ((avg_over_time(" + jobRequests + "[30m] offset 1d) + avg_over_time(" + jobRequests + "[30m] offset 7d)) / 2 > 1)"
}
