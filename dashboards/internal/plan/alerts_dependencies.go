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
