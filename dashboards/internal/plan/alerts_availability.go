package plan

func (c Config) availabilityAlerts() []Alert {
	return []Alert{
		{
			Name: "TargetDown", Severity: Ticket, Category: "availability",
			Expr:        up + " == 0" + ours(perInstance),
			For:         "3m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} is down`,
			Description: `Prometheus could not scrape it for 3 minutes (up is {{ $value }}).`,
			Advice:      `Events of the pod, readiness, network policy; then the admin address: it listens on localhost unless Config.AdminAddr says otherwise.`,
			Dashboard:   FleetUID, Vars: []string{"job", "instance"},
		},
		{
			Name: "ServiceDown", Severity: Page, Category: "availability",
			Expr: sum(up, perJob...) + " == 0" + ours(perJob),
			For:  "2m", Keep: "2m",
			Summary:     `{{ $labels.job }}: all instances are down ({{ $value }} up)`,
			Description: `Not one instance can be scraped, for 2 minutes.`,
			Advice:      `Is it down for users as well? Look at the load balancer. Yes: last deploy, roll back. No: the scrape's port, credentials, network policy.`,
			Dashboard:   FleetUID, Vars: []string{"job"},
		},
		{
			Name: "ServiceVanished", Severity: Page, Category: "availability",
			Expr: "count by (cluster, namespace, job) (" + buildInfo + " offset 1h)" +
				"\nunless " + on(perJob) + " " + group(up, perJob...),
			For: "15m", Keep: "5m",
			Summary:     `{{ $labels.job }} has disappeared; instances an hour ago: {{ $value }}`,
			Description: `There is not even a target to scrape: deleted, renamed, or the discovery of targets is broken.`,
			Advice:      `Was the job renamed or deleted on purpose? Silence it. Otherwise: ServiceMonitor and its labels, service discovery, namespace.`,
			Dashboard:   FleetUID, Vars: []string{"job"},
		},
		{
			Name: "ReadinessCheckFailing", Severity: Ticket, Category: "availability",
			Expr:        "max_over_time(" + checkUp + "[2m]) == 0",
			For:         "3m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: readiness check {{ $labels.check }} fails ({{ $value }})`,
			Description: `The instance takes itself out of the load balancer as long as the check fails.`,
			Advice:      `GET /readyz on the admin address has one line for each check, with the error.`,
			Dashboard:   FleetUID, Vars: []string{"job", "instance"},
		},
		{
			Name: "ReplicaOutlier", Severity: Ticket, Category: "availability",
			Expr: instanceErrors + " > " + on(perJob) + " group_left () (5 * quantile by (cluster, namespace, job) (0.5, " + instanceErrors + ") + 0.05)" +
				"\nand " + on(perInstance) + " " + instanceRequests + " > 0.5" +
				"\nand " + on(perJob) + " count by (cluster, namespace, job) (" + instanceErrors + ") >= 3",
			For:         "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} fails {{ $value | humanizePercentage }} of its requests, far more than its peers`,
			Description: `Its share of errors is above five times that of the median instance plus 5 points, for 10 minutes.`,
			Advice:      `Keep a goroutine dump and a profile of it, then drain it. Compare node, version and uptime with its peers on the Fleet page.`,
			Dashboard:   FleetUID, Vars: []string{"job", "instance"},
		},
		{
			Name: "VersionSkew", Severity: Info, Category: "change",
			Expr:        "count by (cluster, namespace, job) (" + group(buildInfo, "cluster", "namespace", "job", "service_version") + ") > 1",
			For:         "2h",
			Summary:     `{{ $labels.job }} has run {{ $value }} versions for 2 hours`,
			Description: `A rollout is stuck, or a canary was forgotten.`,
			Advice:      `Finish the rollout or roll it back.`,
			Dashboard:   FleetUID, Vars: []string{"job"},
		},
	}
}
