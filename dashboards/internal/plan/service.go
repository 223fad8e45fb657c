package plan

import "strings"

// Service is the first page: is it fine, and if not, which route, since when,
// and is it the runtime, the code or somebody else.
func (c Config) Service() Dashboard {
	s := onPanel
	routes := s.where(`http_route=~"$route"`)
	return Dashboard{
		UID:         ServiceUID,
		Title:       "Loadline / Service",
		Description: "Is the service fine? If not: which route, since when, and is it the runtime, its own code or a dependency?",
		Route:       true,
		Rows: []Row{
			{Title: "Is it fine?", Panels: []Panel{
				{Title: "Requests", Kind: Stat, Unit: "reqps", Width: 4, Height: 4,
					Description: "Completed requests a second, all chosen instances. None although clients call: look at instances up, then at the load balancer.",
					Queries:     []Query{{Expr: s.count(serverRequests)}}},
				{Title: "Failed", Kind: Stat, Unit: "percentunit", Width: 4, Height: 4, Warn: c.RouteErrors, Page: c.RouteErrorsPage,
					Description: "Share of requests answered with 5xx or a panic. Orange: find the route in the table below, then the exemplar's trace.",
					Queries:     []Query{{Expr: s.share(serverRequests, serverError)}}},
				{Title: "p99", Kind: Stat, Unit: "s", Width: 4, Height: 4, Warn: c.RouteP99.Seconds() / 2, Page: c.RouteP99.Seconds(),
					Description: "One request in a hundred takes longer than this, over all routes. Read the table by route before acting on it.",
					Queries:     []Query{{Expr: s.quantile(0.99, serverRequests)}}},
				{Title: "In flight", Kind: Stat, Unit: "short", Width: 4, Height: 4,
					Description: "Requests being handled now. Rising at a steady rate of requests means that they are getting slower.",
					Queries:     []Query{{Expr: sum(s.now(serverActive))}}},
				{Title: "Instances up", Kind: Stat, Unit: "short", Width: 4, Height: 4, Drill: FleetUID,
					Description: "Instances that Prometheus can scrape. Fewer than expected: see the Fleet page.",
					Queries:     []Query{{Expr: "count(" + s.now(up) + " == 1)"}}},
				{Title: "Alerts firing", Kind: Stat, Unit: "short", Width: 4, Height: 4, Warn: 1, Page: 2,
					Description: "Pages and tickets that fire for this service now; the list is at the bottom of the page.",
					Queries:     []Query{{Expr: `count(` + alerts + `{alertstate="firing", severity=~"critical|warning", cluster=~"$cluster", namespace=~"$namespace", job=~"$job"}) or vector(0)`}}},
				{Title: "Scheduler p99", Kind: Stat, Unit: "s", Width: 4, Height: 4, Warn: c.SchedWait.Seconds(), Page: c.SchedWaitPage.Seconds(), Drill: RuntimeUID,
					Description: "How long a goroutine that could run waits for a processor: what event-loop lag is to Node. Orange: every request pays it; see the Runtime page.",
					Queries:     []Query{{Expr: s.quantile(0.99, schedWait)}}},
				{Title: "CPU of limit", Kind: Stat, Unit: "percentunit", Width: 4, Height: 4, Warn: 0.7, Page: c.CPUShare, Drill: RuntimeUID,
					Description: "CPU used of GOMAXPROCS, worst instance. Near 100 %: take a CPU profile, or add instances.",
					Queries:     []Query{{Expr: most(s.cpuShare("job", "instance"))}}},
				{Title: "GC of CPU", Kind: Stat, Unit: "percentunit", Width: 4, Height: 4, Warn: c.GCShare, Page: c.GCSharePage, Drill: RuntimeUID,
					Description: "The collector's share of the used CPU, worst instance. Orange: take an allocation profile, or give it more memory.",
					Queries:     []Query{{Expr: most(s.gcShare("job", "instance"))}}},
				{Title: "Memory of limit", Kind: Stat, Unit: "percentunit", Width: 4, Height: 4, Warn: 0.8, Page: c.MemoryShare, Drill: RuntimeUID,
					Description: "Of the nearest limit: GOMEMLIMIT, the container's or the host's, worst instance. Near 100 % the collector runs without end, or the kernel kills.",
					Queries:     []Query{{Expr: "1 - min(" + s.now(headroom) + ")"}}},
				{Title: "Panics", Kind: Stat, Unit: "short", Width: 4, Height: 4, Warn: 1, Page: 10,
					Description: "Panics that left a handler in the last hour. The stack is in the log record beside the trace.",
					Queries:     []Query{{Expr: "sum(increase(" + s.now(panics) + "[1h])) or vector(0)"}}},
				{Title: "Telemetry lost", Kind: Stat, Unit: "short", Width: 4, Height: 4, Warn: 1, Page: 100, Drill: TelemetryUID,
					Description: "Spans, logs and exports dropped in the last hour. Above zero, what you see in traces and logs is not everything.",
					Queries:     []Query{{Expr: "sum(increase(" + s.now(dropped) + "[1h])) or vector(0)"}}},
			}},
			{Title: "Requests: rate, errors, duration", Panels: []Panel{
				{Title: "Requests by route", Kind: Series, Unit: "reqps", Width: 8, Height: 9,
					Description: "Completed requests a second, the ten busiest routes. A fall on all of them at once begins before the service: callers, DNS, load balancer.",
					Queries:     []Query{{Expr: "topk(10, " + routes.count(serverRequests, "http_request_method", "http_route") + ")", Legend: "{{http_request_method}} {{http_route}}"}}},
				{Title: "Failed by route", Kind: Series, Unit: "percentunit", Width: 8, Height: 9, Warn: c.RouteErrors, Page: c.RouteErrorsPage,
					Description: "Share answered with 5xx. A route without errors stays at zero. One route: its code or its dependency; all of them: the instance.",
					Queries:     []Query{{Expr: routes.share(serverRequests, serverError, "http_request_method", "http_route"), Legend: "{{http_request_method}} {{http_route}}"}}},
				{Title: "Duration p50, p95, p99", Kind: Series, Unit: "s", Width: 8, Height: 9, Exemplars: true,
					Description: "All chosen routes together. p50 rising with p99: everything is slower. p99 alone: some requests wait for something. A dot is an exemplar: click it for its trace.",
					Queries: []Query{
						{Expr: routes.quantile(0.99, serverRequests), Legend: "p99"},
						{Expr: routes.quantile(0.95, serverRequests), Legend: "p95"},
						{Expr: routes.quantile(0.5, serverRequests), Legend: "p50"}}},
				{Title: "Distribution of durations", Kind: Heatmap, Unit: "s", Width: 12, Height: 9, Exemplars: true,
					Description: "Every request by its duration. Two bands are two behaviours: cache hit and miss, one bad instance, a timeout with retry.",
					Queries:     []Query{{Expr: routes.heat(serverRequests), Legend: "{{le}}"}}},
				{Title: "p99 by route", Kind: Series, Unit: "s", Width: 12, Height: 9, Warn: c.RouteP99.Seconds() / 2, Page: c.RouteP99.Seconds(), Exemplars: true,
					Description: "Where the tail is. Only routes with a request every five seconds or more: below that, p99 is one request.",
					Queries: []Query{{Expr: "topk(10, " + routes.quantile(0.99, serverRequests, "http_request_method", "http_route") +
						" and on (http_request_method, http_route) (" + routes.count(serverRequests, "http_request_method", "http_route") + " > 0.2))", Legend: "{{http_request_method}} {{http_route}}"}}},
				{Title: "CPU by route", Kind: Series, Unit: "short", Width: 24, Height: 8, Stack: true,
					Description: "Cores kept busy, the ten hungriest routes, by the CPU profiles that each instance takes every minute; none is the collector and what no request asked for. The profiles: /debug/profiles on the admin address.",
					Queries:     []Query{{Expr: "topk(10, " + sum(routes.rate(routeCPU), "http_route") + ")", Legend: "{{http_route}}"}}},
				{Title: "Routes, worst first", Kind: Table, Width: 24, Height: 10, SortBy: "p99",
					Description: "One row for each method and route. Click a heading to sort: Seconds is where the service spends its time, and what to make faster first.",
					Queries: []Query{
						{Expr: s.count(serverRequests, "http_request_method", "http_route"), Legend: "Rate", Unit: "reqps"},
						{Expr: s.share(serverRequests, serverError, "http_request_method", "http_route"), Legend: "Failed", Unit: "percentunit", Warn: c.RouteErrors, Page: c.RouteErrorsPage},
						{Expr: s.quantile(0.5, serverRequests, "http_request_method", "http_route"), Legend: "p50", Unit: "s"},
						{Expr: s.quantile(0.95, serverRequests, "http_request_method", "http_route"), Legend: "p95", Unit: "s"},
						{Expr: s.quantile(0.99, serverRequests, "http_request_method", "http_route"), Legend: "p99", Unit: "s", Warn: c.RouteP99.Seconds() / 2, Page: c.RouteP99.Seconds()},
						{Expr: s.total(serverRequests, "http_request_method", "http_route"), Legend: "Seconds a second", Unit: "short"}}},
				{Title: "In flight by method", Kind: Series, Unit: "short", Width: 8, Height: 8,
					Description: "Requests being handled. By Little's law this is rate times duration, the other line; far above it, some requests never end.",
					Queries: []Query{
						{Expr: sum(s.now(serverActive), "http_request_method"), Legend: "{{http_request_method}}"},
						{Expr: s.total(serverRequests), Legend: "rate x duration"}}},
				{Title: "Answers by status", Kind: Series, Unit: "reqps", Width: 8, Height: 8, Stack: true,
					Description: "Responses a second by status. 499 and 0 are clients that went away; a wave of 4xx is often a deploy of the caller.",
					Queries:     []Query{{Expr: routes.count(serverRequests, "http_response_status_code"), Legend: "{{http_response_status_code}}"}}},
				{Title: "Errors by type", Kind: Series, Unit: "reqps", Width: 8, Height: 8, Stack: true,
					Description: "Failed requests a second by what failed. The type is the status or the kind of error; its trace names the first step that failed.",
					Queries:     []Query{{Expr: routes.where(serverError).count(serverRequests, "http_route", "error_type"), Legend: "{{http_route}} {{error_type}}"}}},
			}},
			{Title: "Bodies and streams", Collapsed: true, Panels: []Panel{
				{Title: "Request bodies p50, p99", Kind: Series, Unit: "bytes", Width: 8, Height: 8, Log: true,
					Description: "Size of what clients send. A jump with slower requests: somebody uploads.",
					Queries: []Query{
						{Expr: routes.quantile(0.99, requestBodies), Legend: "p99"},
						{Expr: routes.quantile(0.5, requestBodies), Legend: "p50"}}},
				{Title: "Response bodies p50, p99", Kind: Series, Unit: "bytes", Width: 8, Height: 8, Log: true,
					Description: "Size of what handlers write. A list without a limit grows here before it is slow.",
					Queries: []Query{
						{Expr: routes.quantile(0.99, responseBodies), Legend: "p99"},
						{Expr: routes.quantile(0.5, responseBodies), Legend: "p50"}}},
				{Title: "Streams ended, and their lifetime p50", Kind: Series, Unit: "short", Width: 8, Height: 8,
					Description: "Server-sent events, upgraded and hijacked connections; kept out of the durations above. Many that end at once: a proxy's timeout or a restart.",
					Queries: []Query{
						{Expr: "60 * " + routes.count(serverStreams, "http_route"), Legend: "{{http_route}} a minute"},
						{Expr: routes.quantile(0.5, serverStreams, "http_route"), Legend: "{{http_route}} seconds"}}},
				{Title: "First byte of streams p50, p99", Kind: Series, Unit: "s", Width: 8, Height: 8,
					Description: "Time until a stream sent something. Their lifetime is the client's; this is what the service makes it wait for.",
					Queries: []Query{
						{Expr: routes.quantile(0.99, firstByte, "http_route"), Legend: "{{http_route}} p99"},
						{Expr: routes.quantile(0.5, firstByte, "http_route"), Legend: "{{http_route}} p50"}}},
			}},
			{Title: "Connections", Collapsed: true, Panels: []Panel{
				{Title: "Connections by state", Kind: Series, Unit: "short", Width: 8, Height: 8, Stack: true,
					Description: "Open connections of the ports that Serve serves. Many new ones: clients connect and say nothing. Active far above the requests in flight: bodies or headers arrive slowly.",
					Queries:     []Query{{Expr: sum(s.now(connections), "server_port", "state"), Legend: "{{server_port}} {{state}}"}}},
				{Title: "Connections accepted", Kind: Series, Unit: "short", Width: 8, Height: 8,
					Description: "New connections a second, and how many requests each carries. Near one request a connection, clients do not keep them: each pays the handshake.",
					Queries: []Query{
						{Expr: sum(s.rate(accepted), "server_port"), Legend: "{{server_port}} a second"},
						{Expr: ratio(s.count(serverRequests), sum(s.rate(accepted))), Legend: "requests a connection"}}},
				{Title: "TLS handshakes failed", Kind: Series, Unit: "short", Width: 8, Height: 8, Stack: true,
					Description: "Failed handshakes a second. tls: no common version or cipher, a certificate that a client does not trust, plain HTTP; eof: scanners and checks of the port.",
					Queries:     []Query{{Expr: sum(s.rate(handshakes), "server_port", "error_type"), Legend: "{{server_port}} {{error_type}}"}}},
				{Title: "Queue in front p50, p95, p99", Kind: Series, Unit: "s", Width: 8, Height: 8, Log: true,
					Description: "From the proxy's stamp to the handler (Config.QueueHeader). It is in no duration above: high with fast routes, too few instances accept, or the proxy queues.",
					Queries: []Query{
						{Expr: s.quantile(0.99, queueTime), Legend: "p99"},
						{Expr: s.quantile(0.95, queueTime), Legend: "p95"},
						{Expr: s.quantile(0.5, queueTime), Legend: "p50"}}},
				{Title: "Stamps not believed", Kind: Series, Unit: "reqps", Width: 8, Height: 8,
					Description: "Requests whose stamp was left out of the queue. future or old: the clocks differ; garbage: the header comes from clients, not from the proxy.",
					Queries:     []Query{{Expr: sum(s.rate(queueIgnored), "reason"), Legend: "{{reason}}"}}},
				{Title: "Probes", Kind: Series, Unit: "reqps", Width: 8, Height: 8,
					Description: "Health probes and scrapes that came in beside the requests, by status; they are in no figure of requests.",
					Queries:     []Query{{Expr: sum(s.rate(probes), "http_route", "http_response_status_code"), Legend: "{{http_route}} {{http_response_status_code}}"}}},
			}},
			{Title: "Remote procedures served", Collapsed: true, Panels: []Panel{
				{Title: "Methods, worst first", Kind: Table, Width: 24, Height: 8, SortBy: "p99",
					Description: "One row for each method, from the server spans of instrumented libraries such as otelgrpc. Failed are those that are the server's own fault by the status code.",
					Queries: []Query{
						{Expr: s.count(rpcServed, "rpc_system_name", "rpc_method"), Legend: "Rate", Unit: "reqps"},
						{Expr: s.share(rpcServed, anyError, "rpc_system_name", "rpc_method"), Legend: "Failed", Unit: "percentunit", Warn: c.RouteErrors, Page: c.RouteErrorsPage},
						{Expr: s.quantile(0.5, rpcServed, "rpc_system_name", "rpc_method"), Legend: "p50", Unit: "s"},
						{Expr: s.quantile(0.95, rpcServed, "rpc_system_name", "rpc_method"), Legend: "p95", Unit: "s"},
						{Expr: s.quantile(0.99, rpcServed, "rpc_system_name", "rpc_method"), Legend: "p99", Unit: "s"},
						{Expr: s.total(rpcServed, "rpc_system_name", "rpc_method"), Legend: "Seconds a second", Unit: "short"}}},
				{Title: "Answers by status", Kind: Series, Unit: "reqps", Width: 12, Height: 8, Stack: true,
					Description: "All methods. _OTHER with UNIMPLEMENTED: somebody calls what is not there, an old client or a scanner.",
					Queries:     []Query{{Expr: s.count(rpcServed, "rpc_response_status_code"), Legend: "{{rpc_response_status_code}}"}}},
				{Title: "Calls in flight", Kind: Series, Unit: "short", Width: 12, Height: 8,
					Description: "By instance; a method counts from its second call on. Rising at a steady rate: calls get slower, or streams are held open.",
					Queries:     []Query{{Expr: sum(s.now(rpcActive), "job", "instance"), Legend: "{{instance}}"}}},
			}},
			{Title: "Runtime: scheduler, collector, memory", Panels: []Panel{
				{Title: "Wait for a processor p50, p95, p99", Kind: Series, Unit: "s", Width: 8, Height: 9, Log: true, Warn: c.SchedWait.Seconds(), Page: c.SchedWaitPage.Seconds(), Drill: RuntimeUID,
					Description: "Scheduler latency: how long goroutines that could run wait. High with a busy CPU: profile or add instances. High with an idle CPU: throttled by its quota, or a busy neighbour.",
					Queries: []Query{
						{Expr: s.quantile(0.99, schedWait), Legend: "p99"},
						{Expr: s.quantile(0.95, schedWait), Legend: "p95"},
						{Expr: s.quantile(0.5, schedWait), Legend: "p50"}}},
				{Title: "CPU of GOMAXPROCS", Kind: Series, Unit: "percentunit", Width: 8, Height: 9, Warn: 0.7, Page: c.CPUShare, Drill: RuntimeUID,
					Description: "Used CPU of what the scheduler may use, by instance. One instance above the others: uneven load, or a loop in it.",
					Queries:     []Query{{Expr: s.cpuShare("job", "instance"), Legend: "{{instance}}"}}},
				{Title: "GC share of CPU", Kind: Series, Unit: "percentunit", Width: 8, Height: 9, Warn: c.GCShare, Page: c.GCSharePage, Drill: RuntimeUID,
					Description: "The collector's part of the used CPU. High: take an allocation profile, raise GOGC, or raise GOMEMLIMIT if memory is at it.",
					Queries:     []Query{{Expr: s.gcShare("job", "instance"), Legend: "{{instance}}"}}},
				{Title: "GC pauses p50, p99", Kind: Series, Unit: "s", Width: 8, Height: 9, Log: true,
					Description: "Time in which the whole program stands still. Above a millisecond is rare: long pauses mean that threads were not given a CPU.",
					Queries: []Query{
						{Expr: s.quantile(0.99, gcPause), Legend: "p99"},
						{Expr: s.quantile(0.5, gcPause), Legend: "p50"}}},
				{Title: "Memory against its limit", Kind: Series, Unit: "bytes", Width: 8, Height: 9, Drill: RuntimeUID,
					Description: "Memory of the Go runtime, the heap size at which the next collection ends, and GOMEMLIMIT where one is set.",
					Queries: []Query{
						{Expr: sum(s.now(memoryUsed), "job", "instance"), Legend: "{{instance}} used"},
						{Expr: most(s.now(gcGoal), "job", "instance"), Legend: "{{instance}} GC goal"},
						{Expr: most(s.now(memoryMax), "job", "instance") + " < 1e15", Legend: "{{instance}} limit"}}},
				{Title: "Goroutines", Kind: Series, Unit: "short", Width: 8, Height: 9, Drill: RuntimeUID,
					Description: "Goroutines by instance. A floor that only rises is a leak: take a goroutine profile and group it by where they were started.",
					Queries:     []Query{{Expr: sum(s.now(goroutines), "job", "instance"), Legend: "{{instance}}"}}},
			}},
			c.jobRow(),
			{Title: "Dependencies: is it us or them?", Panels: []Panel{
				{Title: "Where the time of a request goes", Kind: Series, Unit: "s", Width: 8, Height: 9, Drill: DependenciesUID,
					Description: "Seconds of one average request spent in calls. What grows together with the whole request is the suspect; calls at the same time count twice.",
					Queries: []Query{
						{Expr: perRequest(s, s.total(clientRequests)), Legend: "outbound HTTP"},
						{Expr: perRequest(s, s.total(dbOperations)), Legend: "database"},
						{Expr: perRequest(s, sum(s.rate(dbWaitSeconds))), Legend: "waiting for a connection"},
						{Expr: perRequest(s, s.total(rpcCalls)), Legend: "remote procedures"},
						{Expr: perRequest(s, s.total(messageCalls)), Legend: "messaging"},
						{Expr: perRequest(s, s.total(calls)), Legend: "other calls"},
						{Expr: perRequest(s, s.total(serverRequests)), Legend: "whole request"}}},
				callPanel(s, "Calls a second", "reqps", 0, 0, "Calls by what is called. More calls for the same requests: retries, or a query in a loop.",
					func(k callKind) string { return s.count(k.metric(), k.labels()...) }),
				callPanel(s, "Failed calls", "percentunit", c.DependencyErrors/2, c.DependencyErrors, "Share of calls that failed: timeouts, refused connections, 5xx, 429. Check the other service's own page before this one.",
					func(k callKind) string { return s.share(k.metric(), k.failed(), k.labels()...) }),
				callPanel(s, "p95 of calls", "s", 0, 0, "Slow here and fine on the other side: the network, or our own wait for a processor.",
					func(k callKind) string { return s.quantile(0.95, k.metric(), k.labels()...) }),
				{Title: "Database pools", Kind: Series, Unit: "percentunit", Width: 8, Height: 9, Warn: 0.8, Page: 0.95, Drill: DependenciesUID,
					Description: "Connections in use of those allowed. Full is fine, full with goroutines waiting is not: slow queries, or rows that are not closed.",
					Queries:     []Query{{Expr: s.poolShare("job", "instance", "db_client_connection_pool_name"), Legend: "{{instance}} {{db_client_connection_pool_name}}"}}},
				{Title: "Firing alerts", Kind: Alerts, Width: 8, Height: 9,
					Description: "What fires for the chosen service. Each alert links to its runbook."},
			}},
		},
	}
}

// perRequest divides by the requests of the same scope.
func perRequest(s scope, expr string) string { return ratio(expr, s.count(serverRequests)) }

// callPanel asks the same of every way out.
func callPanel(s scope, title, unit string, warn, page float64, description string, ask func(callKind) string) Panel {
	p := Panel{Title: title, Kind: Series, Unit: unit, Width: 8, Height: 9, Warn: warn, Page: page, Drill: DependenciesUID, Description: description}
	for _, k := range callKinds {
		p.Queries = append(p.Queries, Query{Expr: byCallee(k, ask(k)), Legend: "{{dependency}}"})
	}
	p.Exemplars = strings.Contains(p.Queries[0].Expr, "histogram_quantile")
	return p
}
