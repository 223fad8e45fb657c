package plan

// Telemetry is about the observing itself: can the other pages be believed,
// and what do they cost?
func (c Config) Telemetry() Dashboard {
	s := onPanel
	each := []string{"job", "instance"}
	return Dashboard{
		UID:         TelemetryUID,
		Title:       "Loadline / Telemetry",
		Description: "Can the other pages be believed? What is lost, what is folded together, what observing costs.",
		Rows: []Row{
			{Title: "Can it be believed?", Panels: []Panel{
				{Title: "Lost in an hour", Kind: Stat, Unit: "short", Width: 6, Height: 5, Warn: 1, Page: 100,
					Description: "Spans, log records and exports that were made and could not be delivered. Above zero, traces and logs are not everything.",
					Queries:     []Query{{Expr: "sum(increase(" + s.now(dropped) + "[1h])) or vector(0)"}}},
				{Title: "Metrics at their limit of series", Kind: Stat, Unit: "short", Width: 6, Height: 5, Warn: 1, Page: 3,
					Description: "Metrics that counted something under the label value other in the last hour: numbers by that label are not complete.",
					Queries:     []Query{{Expr: "count(" + sum("increase("+s.now(overflow)+"[1h])", "metric") + " > 0) or vector(0)"}}},
				{Title: "Series of an instance", Kind: Stat, Unit: "short", Width: 6, Height: 5, Warn: 5000, Page: 20000,
					Description: "Samples in one scrape, largest instance. Many: routes times statuses times buckets; look for a label with too many values.",
					Queries:     []Query{{Expr: most(s.now(scrapeSize))}}},
				{Title: "Slowest scrape", Kind: Stat, Unit: "s", Width: 6, Height: 5, Warn: 1, Page: 5,
					Description: "Prometheus gives up after 10 s unless told otherwise, and then the metrics have gaps.",
					Queries:     []Query{{Expr: most(s.now(scrapeTime))}}},
			}},
			{Title: "Losses and costs", Panels: []Panel{
				{Title: "Lost, by signal and reason", Kind: Series, Unit: "ops", Width: 12, Height: 9, Stack: true,
					Description: "A second. Queue full: the collector is slow or gone. Export failed: address, TLS, credentials, quota; the log has one line a minute with the error.",
					Queries:     []Query{{Expr: sum(s.rate(dropped), "signal", "reason"), Legend: "{{signal}} {{reason}}"}}},
				{Title: "Counted under other, by metric and label", Kind: Series, Unit: "ops", Width: 12, Height: 9, Stack: true,
					Description: "Events a second that found no series of their own. Usual: an id in a route or a label.",
					Queries:     []Query{{Expr: sum(s.rate(overflow), "metric", "label"), Legend: "{{metric}} {{label}}"}}},
				{Title: "Log records by level", Kind: Series, Unit: "ops", Width: 8, Height: 9, Stack: true,
					Description: "A second. A wave of errors without failed requests is a background job; a wave of debug is a level left on.",
					Queries:     []Query{{Expr: sum(s.rate(logRecords), "level"), Legend: "{{level}}"}}},
				{Title: "CPU of the sampler", Kind: Series, Unit: "percentunit", Width: 8, Height: 9, Warn: 0.01, Page: 0.05,
					Description: "What reading the runtime costs at most, of one CPU. Lower the sampling if it is more than it tells you.",
					Queries:     []Query{{Expr: sum(s.rate(samplerBusy), "job", "instance", "part"), Legend: "{{instance}} {{part}}"}}},
				{Title: "Series by instance", Kind: Series, Unit: "short", Width: 8, Height: 9, Warn: 5000, Page: 20000,
					Description: "Samples in a scrape. A climb that does not end is a label with ever new values.",
					Queries:     []Query{{Expr: most(s.now(scrapeSize), each...), Legend: "{{instance}}"}}},
				{Title: "Duration of scrapes", Kind: Series, Unit: "s", Width: 12, Height: 8, Warn: 1, Page: 5,
					Description: "Slow with few series: the instance is starved of CPU.",
					Queries:     []Query{{Expr: most(s.now(scrapeTime), each...), Legend: "{{instance}}"}}},
				{Title: "Largest metrics", Kind: Table, Width: 12, Height: 8, SortBy: "Series",
					Description: "Series by metric name, the 15 largest.",
					Queries:     []Query{{Expr: `topk(15, count by (__name__) ({cluster=~"$cluster", namespace=~"$namespace", job=~"$job", instance=~"$instance"}))`, Legend: "Series", Unit: "short"}}},
			}},
		},
	}
}
