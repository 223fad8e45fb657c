package plan

// Route is one route, or a few: every symptom, by instance and version, beside
// the same hour of yesterday and of last week.
func (c Config) Route() Dashboard {
	s := onPanel.where(`http_route=~"$route"`)
	ago := func(title, description, unit string, ask func(scope) string) Panel {
		return Panel{Title: title, Kind: Series, Unit: unit, Width: 8, Height: 9, Description: description, Queries: []Query{
			{Expr: ask(s), Legend: "now"},
			{Expr: ask(s.ago("1d")), Legend: "1 day ago"},
			{Expr: ask(s.ago("1w")), Legend: "7 days ago"}}}
	}
	return Dashboard{
		UID:         RouteUID,
		Title:       "Loadline / Route",
		Description: "One route: every symptom, by instance and by version, compared with yesterday and last week.",
		Route:       true,
		Rows: []Row{
			{Title: "Against yesterday and last week", Panels: []Panel{
				ago("Requests", "The same time of day, so that the daily rhythm does not look like an incident.", "reqps",
					func(s scope) string { return s.count(serverRequests) }),
				ago("p95", "A step that begins with a deploy (blue line) is a regression: compare the two versions' profiles.", "s",
					func(s scope) string { return s.quantile(0.95, serverRequests) }),
				ago("Failed", "Failing today and not yesterday is new; failing every day at this hour is a job or a client.", "percentunit",
					func(s scope) string { return s.share(serverRequests, serverError) }),
			}},
			{Title: "Now", Panels: []Panel{
				{Title: "Duration p50 to p99.9", Kind: Series, Unit: "s", Width: 8, Height: 9, Exemplars: true, Warn: c.RouteP99.Seconds() / 2, Page: c.RouteP99.Seconds(),
					Description: "A dot is an exemplar: click it for its trace.",
					Queries: []Query{
						{Expr: s.quantile(0.999, serverRequests), Legend: "p99.9"},
						{Expr: s.quantile(0.99, serverRequests), Legend: "p99"},
						{Expr: s.quantile(0.95, serverRequests), Legend: "p95"},
						{Expr: s.quantile(0.9, serverRequests), Legend: "p90"},
						{Expr: s.quantile(0.5, serverRequests), Legend: "p50"}}},
				{Title: "Distribution of durations", Kind: Heatmap, Unit: "s", Width: 8, Height: 9, Exemplars: true,
					Description: "Two bands are two behaviours: cache hit and miss, a bad instance, a timeout with retry.",
					Queries:     []Query{{Expr: s.heat(serverRequests), Legend: "{{le}}"}}},
				{Title: "Errors by type", Kind: Series, Unit: "reqps", Width: 8, Height: 9, Stack: true,
					Description: "Failed requests a second by status and type; the trace of one names the first step that failed.",
					Queries:     []Query{{Expr: s.where(serverError).count(serverRequests, "http_response_status_code", "error_type"), Legend: "{{http_response_status_code}} {{error_type}}"}}},
				{Title: "p95 by instance", Kind: Series, Unit: "s", Width: 8, Height: 9, Exemplars: true,
					Description: "One line far above the others is a bad instance and not a bad route.",
					Queries:     []Query{{Expr: s.quantile(0.95, serverRequests, "job", "instance"), Legend: "{{instance}}"}}},
				{Title: "p95 by version", Kind: Series, Unit: "s", Width: 8, Height: 9,
					Description: "The worst instance of each version: the canary against what it replaces.",
					Queries: []Query{{Expr: most(s.quantile(0.95, serverRequests, "job", "instance")+
						" * on (job, instance) group_left (service_version) "+group(onPanel.now(buildInfo), "job", "instance", "service_version"), "service_version"), Legend: "{{service_version}}"}}},
				{Title: "Answers by status", Kind: Series, Unit: "reqps", Width: 8, Height: 9, Stack: true,
					Description: "Responses a second by method and status.",
					Queries:     []Query{{Expr: s.count(serverRequests, "http_request_method", "http_response_status_code"), Legend: "{{http_request_method}} {{http_response_status_code}}"}}},
				{Title: "CPU", Kind: Series, Unit: "short", Width: 8, Height: 8,
					Description: "Cores that the route keeps busy, by the CPU profiles that the service takes each minute. Near its time in requests: it computes; take the profile at /debug/profiles.",
					Queries:     []Query{{Expr: sum(s.rate(routeCPU), "job", "instance"), Legend: "{{instance}}"}}},
				{Title: "Request bodies p50, p99", Kind: Series, Unit: "bytes", Width: 8, Height: 8, Log: true,
					Description: "Size of what clients send.",
					Queries: []Query{
						{Expr: s.quantile(0.99, requestBodies), Legend: "p99"},
						{Expr: s.quantile(0.5, requestBodies), Legend: "p50"}}},
				{Title: "Response bodies p50, p99", Kind: Series, Unit: "bytes", Width: 8, Height: 8, Log: true,
					Description: "Size of what the handler writes: a list without a limit grows here before it is slow.",
					Queries: []Query{
						{Expr: s.quantile(0.99, responseBodies), Legend: "p99"},
						{Expr: s.quantile(0.5, responseBodies), Legend: "p50"}}},
			}},
		},
	}
}
