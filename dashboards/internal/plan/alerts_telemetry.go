package plan

func (c Config) telemetryAlerts() []Alert {
	return []Alert{
		{
			Name: "TelemetryLost", Severity: Ticket, Category: "telemetry",
			Expr: born(dropped, "10m", 10, "cluster", "namespace", "job", "signal", "reason"),
			For:  "5m", Keep: "15m",
			Summary:     `{{ $labels.job }} lost {{ $value | humanize }} {{ $labels.signal }} in 10 minutes: {{ $labels.reason }}`,
			Description: `The service is not affected, its evidence is: what you see in traces and logs is not everything.`,
			Advice:      `The reason names it. Queue full: the collector is slow or gone. Export failed: address, TLS, credentials, quota. The log has one line a minute with the error.`,
			Dashboard:   TelemetryUID, Vars: []string{"job"},
		},
		{
			Name: "TelemetrySeriesOverflow", Severity: Ticket, Category: "telemetry",
			Expr: born(overflow, "10m", 0, "cluster", "namespace", "job", "metric", "label"),
			For:  "5m", Keep: "15m",
			Summary:     `{{ $labels.job }}: {{ $labels.metric }} is at its limit of series because of {{ $labels.label }} ({{ $value | humanize }} events in "other")`,
			Description: `New label values are counted under "other", so numbers by {{ $labels.label }} are no longer complete. Memory is safe.`,
			Advice:      `Usual: an id in a route or a label. Fix the route's pattern or drop the label; raise Config.MaxSeries only if the values are really few.`,
			Dashboard:   TelemetryUID, Vars: []string{"job"},
		},
		{
			Name: "TelemetryQueueNearFull", Severity: Info, Category: "telemetry",
			Expr:        inRule.queueShare("cluster", "namespace", "job", "instance", "otel_component_name") + " > 0.8",
			For:         "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: the queue of {{ $labels.otel_component_name }} is {{ $value | humanizePercentage }} full`,
			Description: `For 10 minutes. At 100 % spans are dropped and TelemetryLost fires.`,
			Advice:      `Is the collector slow? Its own queue and CPU first. OTEL_BSP_MAX_QUEUE_SIZE helps against bursts only.`,
			Dashboard:   TelemetryUID, Vars: []string{"job", "instance"},
		},
		{
			Name: "ScrapeNearlyTooSlow", Severity: Info, Category: "telemetry",
			Expr:        scrapeTime + " > 5" + ours(perInstance),
			For:         "15m",
			Summary:     `Scraping {{ $labels.instance }} of {{ $labels.job }} takes {{ $value | humanizeDuration }}`,
			Description: `The usual timeout is 10 seconds; beyond it the metrics have gaps.`,
			Advice:      `Too many series: "Series by instance" on the Telemetry page. Or the instance is starved of CPU: GoSchedulerLatencyHigh fires beside it.`,
			Dashboard:   TelemetryUID, Vars: []string{"job", "instance"},
		},
		{
			Name: "Watchdog", Severity: None, Category: "telemetry",
			Expr:        "vector(1)",
			For:         "0s",
			Summary:     `Alerts arrive`,
			Description: `Fires always. Send it to a dead man's switch that pages when it stops.`,
			Advice:      `If the switch complains, the path from Prometheus over Alertmanager to the receiver is broken. Nobody would have been told of anything else.`,
			Dashboard:   FleetUID,
		},
	}
}
