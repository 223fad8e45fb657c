package plan

// Fleet is all services and all their instances: find the odd one out.
func (c Config) Fleet() Dashboard {
	s := onPanel
	each := []string{"job", "instance"}
	chosen := scope{match: `cluster=~"$cluster", namespace=~"$namespace", job=~"$job"`}
	firing := func(severity string) string {
		return chosen.where(`alertstate="firing", severity="` + severity + `"`).now(alerts)
	}
	return Dashboard{
		UID:         FleetUID,
		Title:       "Loadline / Fleet",
		Description: "All services and all instances: find the odd one out.",
		Rows: []Row{
			{Title: "Services", Panels: []Panel{
				{Title: "Services, worst first", Kind: Table, Width: 24, Height: 8, SortBy: "Failed",
					Description: "One row for each service. Click a name for its page.",
					Queries: []Query{
						{Expr: "count by (job) (" + s.now(up) + " == 1)" + " and on (job) " + group(s.now(buildInfo), "job"), Legend: "Up", Unit: "short"},
						{Expr: "count by (job) (" + group(s.now(buildInfo), "job", "service_version") + ")", Legend: "Versions", Unit: "short", Warn: 2, Page: 3},
						{Expr: s.count(serverRequests, "job"), Legend: "Rate", Unit: "reqps"},
						{Expr: s.share(serverRequests, serverError, "job"), Legend: "Failed", Unit: "percentunit", Warn: c.RouteErrors, Page: c.RouteErrorsPage},
						{Expr: s.quantile(0.99, serverRequests, "job"), Legend: "p99", Unit: "s", Warn: c.RouteP99.Seconds() / 2, Page: c.RouteP99.Seconds()},
						{Expr: s.quantile(0.99, schedWait, "job"), Legend: "Scheduler p99", Unit: "s", Warn: c.SchedWait.Seconds(), Page: c.SchedWaitPage.Seconds()},
						{Expr: most(s.cpuShare(each...), "job"), Legend: "CPU", Unit: "percentunit", Warn: 0.7, Page: c.CPUShare},
						{Expr: "1 - " + aggregate("min", s.now(headroom), "job"), Legend: "Memory", Unit: "percentunit", Warn: 0.8, Page: c.MemoryShare},
						{Expr: "count by (job) (" + chosen.where(`alertstate="firing", severity=~"critical|warning"`).now(alerts) + ")", Legend: "Alerts", Unit: "short", Warn: 1, Page: 2}}},
				{Title: "Health over time", Kind: Timeline, Unit: "short", Width: 24, Height: 6, Warn: 1, Page: 2,
					Description: "Green: no alert. Orange: a ticket. Red: a page.",
					Queries:     []Query{{Expr: "2 * " + group(firing("critical"), "job") + " or " + group(firing("warning"), "job") + " or 0 * " + group(s.now(buildInfo), "job"), Legend: "{{job}}"}}},
			}},
			{Title: "Instances", Panels: []Panel{
				{Title: "Instances, odd one first", Kind: Table, Width: 24, Height: 10, SortBy: "p95 of the median",
					Description: "Each instance beside its peers. Above 2 times the median's p95 is suspicious: compare version, uptime, CPU and host, then open its Runtime page.",
					Queries: []Query{
						{Expr: s.count(serverRequests, each...), Legend: "Rate", Unit: "reqps"},
						{Expr: s.share(serverRequests, serverError, each...), Legend: "Failed", Unit: "percentunit", Warn: c.RouteErrors, Page: c.RouteErrorsPage},
						{Expr: s.quantile(0.95, serverRequests, each...), Legend: "p95", Unit: "s"},
						{Expr: s.quantile(0.95, serverRequests, each...) + " / on (job) group_left () quantile by (job) (0.5, " + s.quantile(0.95, serverRequests, each...) + ")", Legend: "p95 of the median", Unit: "short", Warn: 1.5, Page: 2},
						{Expr: s.quantile(0.99, schedWait, each...), Legend: "Scheduler p99", Unit: "s", Warn: c.SchedWait.Seconds(), Page: c.SchedWaitPage.Seconds()},
						{Expr: s.cpuShare(each...), Legend: "CPU", Unit: "percentunit", Warn: 0.7, Page: c.CPUShare},
						{Expr: "1 - " + aggregate("min", s.now(headroom), each...), Legend: "Memory", Unit: "percentunit", Warn: 0.8, Page: c.MemoryShare},
						{Expr: sum(s.now(goroutines), each...), Legend: "Goroutines", Unit: "short"},
						{Expr: most(s.now(uptime), each...), Legend: "Uptime", Unit: "s"}}},
				{Title: "p95 by instance", Kind: Series, Unit: "s", Width: 8, Height: 9, Exemplars: true,
					Description: "One line above the others is a bad instance; all of them, a bad route or dependency.",
					Queries:     []Query{{Expr: s.quantile(0.95, serverRequests, each...), Legend: "{{instance}}"}}},
				{Title: "Requests by instance", Kind: Series, Unit: "reqps", Width: 8, Height: 9,
					Description: "Uneven lines: sticky connections, or a load balancer that does not know an instance.",
					Queries:     []Query{{Expr: s.count(serverRequests, each...), Legend: "{{instance}}"}}},
				{Title: "Ready", Kind: Timeline, Unit: "short", Width: 8, Height: 9, Warn: 0.5, Page: 0.5, LowIsBad: true,
					Description: "Red while /readyz would refuse: the load balancer sends nothing there.",
					Queries:     []Query{{Expr: aggregate("min", s.now(ready), each...), Legend: "{{instance}}"}}},
				{Title: "Readiness checks", Kind: Timeline, Unit: "short", Width: 8, Height: 9, Warn: 0.5, Page: 0.5, LowIsBad: true,
					Description: "Which check fails; GET /readyz on the admin address has the error.",
					Queries:     []Query{{Expr: aggregate("min", s.now(checkUp), "job", "instance", "check"), Legend: "{{instance}} {{check}}"}}},
				{Title: "Readiness checks, p95 of a run", Kind: Series, Unit: "s", Width: 8, Height: 9,
					Description: "How long what the checks ask takes to answer. A check that becomes slow fails next, at its timeout (1 s unless it says otherwise).",
					Queries:     []Query{{Expr: s.quantile(0.95, checkTime, "job", "check", "result"), Legend: "{{job}} {{check}} {{result}}"}}},
				{Title: "Instances by version", Kind: Series, Unit: "short", Width: 8, Height: 9, Stack: true,
					Description: "A rollout is one colour taking over from the other. Two for hours: stuck, or a forgotten canary.",
					Queries:     []Query{{Expr: "count by (job, service_version, go_version) (" + s.now(buildInfo) + ")", Legend: "{{job}} {{service_version}} ({{go_version}})"}}},
				{Title: "Restarts in ten minutes", Kind: Series, Unit: "short", Width: 8, Height: 9, Warn: 1, Page: 3,
					Description: "More than two in half an hour is a crash loop: last log lines, exit code (137: killed for memory), last deploy.",
					Queries:     []Query{{Expr: sum("resets("+s.now(uptime)+"[10m])", each...), Legend: "{{instance}}"}}},
			}},
		},
	}
}
