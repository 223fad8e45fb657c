package plan

func (c Config) dependencyAlerts() []Alert {
	callee := []string{"job"}
	return []Alert{
		{
			Name: "DependencyErrorsHigh", Severity: Ticket, Category: "dependency",
			Expr: calleeErrorRatio + " > " + number(c.DependencyErrors) +
				"\nand " + calleeErrors + " * 300 >= 10",
			For:         "5m",
			Summary:     `{{ $labels.job }}: {{ $value | humanizePercentage }} of calls to {{ $labels.dependency }} ({{ $labels.kind }}) fail`,
			Description: `More than ` + percent(c.DependencyErrors) + ` of the calls failed for 5 minutes, at least 10 in any 5 minutes: timeouts, refused connections, 5xx, 429.`,
			Advice: `Us or them? Their own page first. If they are fine: our timeout, our credentials, DNS, the pool of connections.
The error types are on the Dependencies page. Retries without a limit make it worse: calls for one request are on the same page.`,
			Dashboard: DependenciesUID, Vars: callee,
		},
		{
			Name: "DependencyLatencyHigh", Severity: Ticket, Category: "dependency",
			Expr: "(" + calleeP95 + `{kind!="db"} > ` + seconds(c.DependencyP95) + " or " + calleeP95 + `{kind="db"} > ` + seconds(c.DatabaseP95) + ")" +
				"\nand " + calleeCalls + " * 300 >= 50",
			For:         "10m",
			Summary:     `{{ $labels.job }}: p95 of calls to {{ $labels.dependency }} ({{ $labels.kind }}) is {{ $value | humanizeDuration }}`,
			Description: `Above ` + c.DependencyP95.String() + ` (a database: ` + c.DatabaseP95.String() + `) for 10 minutes, at 50 calls in 5 minutes or more.`,
			Advice: `Is our own wait for a processor high (Runtime page)? Then it is us: the answer lay there and nobody picked it up.
Otherwise open an exemplar's trace; for a database look at the operations by total time on the Dependencies page, EXPLAIN the first, and look for locks.`,
			Dashboard: DependenciesUID, Vars: callee,
		},
		{
			Name: "HTTPRetryStorm", Severity: Ticket, Category: "dependency",
			Expr: inRule.retryShare(perHost...) + " > " + number(c.RetryShare) +
				"\nand " + sum(inRule.rate(clientRetries), perHost...) + " * 300 >= 10",
			For:         "5m",
			Summary:     `{{ $labels.job }}: {{ $value | humanizePercentage }} of the requests to {{ $labels.server_address }}:{{ $labels.server_port }} are retries`,
			Description: `More than ` + percent(c.RetryShare) + ` of the requests repeated one that had failed, for 5 minutes, at least 10 in any 5 minutes. Retries keep a server down that could not answer the first time.`,
			Advice: `What was retried says why (Dependencies page, connections, phases, retries): 429 and 503 ask for fewer requests, a timeout asks a slow server twice.
Turn retries down before anything else: one layer that retries, at most a tenth of the requests, with jitter, and Retry-After heeded. Then see why the other side fails.`,
			Dashboard: DependenciesUID, Vars: callee,
		},
		{
			Name: "HTTPBodiesLeftOpen", Severity: Ticket, Category: "leak",
			Expr:        sum("increase("+unclosedBodies+"[1h])", perInstance...) + " > 10",
			For:         "5m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} left {{ $value | humanize }} response bodies open in an hour`,
			Description: `More than 10 bodies of responses were neither closed nor read for a minute. Each holds a connection, its buffers and two goroutines for as long as the other side lets it.`,
			Advice: `The usual place returns early when the status is an error, before the deferred Close. The host and the template of the path are on the Dependencies page, the route and the line that called in /debug/leaks.
Until it is mended: http.Client.Timeout closes them too.`,
			Dashboard: DependenciesUID, Vars: []string{"job", "instance"},
		},
		{
			Name: "DBPoolSaturated", Severity: Ticket, Category: "saturation",
			Expr: inRule.poolShare("cluster", "namespace", "job", "instance", "db_client_connection_pool_name") + " > 0.9" +
				"\nand " + sum(inRule.rate(dbWaitSeconds), "cluster", "namespace", "job", "instance", "db_client_connection_pool_name") + " > 0.5",
			For:         "3m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: pool {{ $labels.db_client_connection_pool_name }} is {{ $value | humanizePercentage }} used and goroutines wait for it`,
			Description: `A full pool is fine. A full pool for which half a goroutine and more waits all the time, for 3 minutes, is not.`,
			Advice:      `Slow queries first (Dependencies page), then rows that are not closed and transactions held over a call; a larger pool is the last thing to try, for the database has a limit too.`,
			Dashboard:   DependenciesUID, Vars: []string{"job", "instance"},
		},
		{
			Name: "DBConnectionTimeouts", Severity: Ticket, Category: "dependency",
			Expr: born(dbTimeouts, "10m", 2, "cluster", "namespace", "job", "instance", "db_client_connection_pool_name"),
			For:  "1m", Keep: "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: {{ $value | humanize }} connections of pool {{ $labels.db_client_connection_pool_name }} could not be opened in time`,
			Description: `More than 2 in 10 minutes. The query that wanted one has failed, or waits for the next.`,
			Advice: `Does the database take connections at all: its own limit of them, its log, its host's CPU? Then the way there: DNS, a proxy, a firewall that drops and does not refuse.
Every instance at once is the database or the way; one alone is that instance's host. What opening takes, and connections closed and not opened, are on the Dependencies page.`,
			Dashboard: DependenciesUID, Vars: []string{"job", "instance"},
		},
		{
			Name: "DBConnectionsLeftOpen", Severity: Ticket, Category: "saturation",
			Expr:        sum(inRule.now(dbUnclosed), "cluster", "namespace", "job", "instance", "db_client_connection_pool_name", "kind") + " > 0",
			For:         "5m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }}: {{ $value }} {{ $labels.kind }} of pool {{ $labels.db_client_connection_pool_name }} hold a connection and nobody uses them`,
			Description: `For 5 minutes there were sql.Rows without a row read, or sql.Tx without a statement run, for a minute and more. Each holds a connection until the process ends; a transaction holds its locks, too.`,
			Advice: `Which query and route: the list of what is left open on the instance's admin page; from the second one on it tells the line that opened it.
Rows want a deferred Close before the first return, a transaction a deferred Rollback (after Commit it does nothing). Until that is deployed, a restart frees the connections.`,
			Dashboard: DependenciesUID, Vars: []string{"job", "instance"},
		},
	}
}
