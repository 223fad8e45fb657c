package plan

// Dependencies is everything that the service calls: is it us or them?
func (c Config) Dependencies() Dashboard {
	s := onPanel
	operations := func(metric string, by ...string) []Query {
		return []Query{
			{Expr: s.count(metric, by...), Legend: "Rate", Unit: "reqps"},
			{Expr: s.share(metric, anyError, by...), Legend: "Failed", Unit: "percentunit", Warn: c.DependencyErrors / 2, Page: c.DependencyErrors},
			{Expr: s.quantile(0.5, metric, by...), Legend: "p50", Unit: "s"},
			{Expr: s.quantile(0.95, metric, by...), Legend: "p95", Unit: "s"},
			{Expr: s.quantile(0.99, metric, by...), Legend: "p99", Unit: "s"},
			{Expr: s.total(metric, by...), Legend: "Seconds a second", Unit: "short"},
		}
	}
	table := func(title, description string, queries []Query) Panel {
		return Panel{Title: title, Kind: Table, Width: 24, Height: 8, SortBy: "Seconds a second", Description: description, Queries: queries}
	}
	small := func(p Panel) Panel {
		p.Drill = ""
		return p
	}
	pool := []string{"job", "instance", "db_client_connection_pool_name"}
	perPool := "{{instance}} {{db_client_connection_pool_name}}"
	query := []string{"db_namespace", "db_query_summary"}
	queries := s.where(`db_query_summary!=""`)
	return Dashboard{
		UID:         DependenciesUID,
		Title:       "Loadline / Dependencies",
		Description: "Everything the service calls: is it us or them?",
		Rows: append([]Row{
			{Title: "All of them", Panels: []Panel{
				small(callPanel(s, "Calls a second", "reqps", 0, 0, "By what is called. Rising without more requests: retries, or a query in a loop.",
					func(k callKind) string { return s.count(k.metric(), k.labels()...) })),
				small(callPanel(s, "Failed calls", "percentunit", c.DependencyErrors/2, c.DependencyErrors, "Timeouts, refused connections, 5xx and 429. A 4xx is an answer to a question of ours and not their failure.",
					func(k callKind) string { return s.share(k.metric(), k.failed(), k.labels()...) })),
				small(callPanel(s, "p95 of calls", "s", c.DatabaseP95.Seconds(), c.DependencyP95.Seconds(), "Orange is the line for databases, red for the rest. Slow here and fine on their side: the network, or our own wait for a processor.",
					func(k callKind) string { return s.quantile(0.95, k.metric(), k.labels()...) })),
				small(callPanel(s, "Calls for one request", "short", 0, 0, "A step up with a deploy is a query in a loop; a slow climb during an incident is a storm of retries.",
					func(k callKind) string {
						return s.count(k.metric(), k.labels()...) + " / on () group_left () (" + s.count(serverRequests) + " > 0)"
					})),
				small(callPanel(s, "Seconds of one request", "s", 0, 0, "What an average request spends in each. What grows together with its p95 is the suspect.",
					func(k callKind) string {
						return s.total(k.metric(), k.labels()...) + " / on () group_left () (" + s.count(serverRequests) + " > 0)"
					})),
				small(callPanel(s, "Calls under way", "short", 0, 0, "By Little's law: seconds a second, so how many goroutines are in a call right now. Where it is near a pool's size, the pool is the limit.",
					func(k callKind) string { return s.total(k.metric(), k.labels()...) })),
			}},
			{Title: "HTTP", Panels: []Panel{
				table("HTTP, most time first", "One row for each method, host and template of the path. Failed counts every status from 400 up here.", operations(clientRequests, "http_request_method", "server_address", "server_port", "url_template")),
				{Title: "Answers by status", Kind: Series, Unit: "reqps", Width: 12, Height: 9, Stack: true,
					Description: "By host. No status at all: the connection failed, see the types beside.",
					Queries:     []Query{{Expr: s.count(clientRequests, "server_address", "http_response_status_code"), Legend: "{{server_address}} {{http_response_status_code}}"}}},
				{Title: "Errors by type", Kind: Series, Unit: "reqps", Width: 12, Height: 9, Stack: true,
					Description: "timeout: theirs or our deadline; connection refused: nobody listens; a number: what they answered.",
					Queries:     []Query{{Expr: s.where(anyError).count(clientRequests, "server_address", "error_type"), Legend: "{{server_address}} {{error_type}}"}}},
				{Title: "Distribution of durations", Kind: Heatmap, Unit: "s", Width: 24, Height: 8, Exemplars: true,
					Description: "Two bands are two behaviours: reused and new connections, cache hit and miss, retry after a timeout.",
					Queries:     []Query{{Expr: s.heat(clientRequests), Legend: "{{le}}"}}},
			}},
			{Title: "HTTP: connections, phases, retries", Collapsed: true, Panels: []Panel{
				{Title: "p95 of each phase", Kind: Series, Unit: "s", Width: 8, Height: 9, Log: true,
					Description: "wait is for a connection when none is idle, connect and tls belong to new ones, first_byte is the other side's own time, body is ours to read. Which of them grew is where to look.",
					Queries:     []Query{{Expr: s.quantile(0.95, clientPhases, "phase"), Legend: "{{phase}}"}}},
				{Title: "Requests on a reused connection", Kind: Series, Unit: "percentunit", Width: 8, Height: 9, Warn: 0.9, Page: 0.5, LowIsBad: true,
					Description: "Each new connection costs two round trips and more. Low: MaxIdleConnsPerHost is 2 by default, bodies are not read to the end, or the other side closes.",
					Queries: []Query{{Expr: ratio(sum(s.where(`reused="true"`).rate(connectionUses), "server_address", "server_port"),
						sum(s.rate(connectionUses), "server_address", "server_port")), Legend: "{{server_address}}:{{server_port}}"}}},
				{Title: "Open connections", Kind: Series, Unit: "short", Width: 8, Height: 9, Stack: true,
					Description: "Active while a request or its body is on it. Active ones that only rise: bodies that nobody closes, see below.",
					Queries:     []Query{{Expr: sum(s.now(clientConnections), "server_address", "server_port", "http_connection_state"), Legend: "{{server_address}}:{{server_port}} {{http_connection_state}}"}}},
				{Title: "Retries of requests", Kind: Series, Unit: "percentunit", Width: 8, Height: 9, Warn: c.RetryShare / 2, Page: c.RetryShare,
					Description: "Requests that repeat one that failed, of all. Retries at every layer multiply: above a tenth they are what keeps the other side down.",
					Queries:     []Query{{Expr: s.retryShare("server_address", "server_port"), Legend: "{{server_address}}:{{server_port}}"}}},
				{Title: "What was retried", Kind: Series, Unit: "reqps", Width: 8, Height: 9, Stack: true,
					Description: "By what the attempt before ended with. A retry after a timeout asks a slow server twice.",
					Queries:     []Query{{Expr: sum(s.rate(clientRetries), "server_address", "error_type"), Legend: "{{server_address}} {{error_type}}"}}},
				{Title: "Bodies left open", Kind: Series, Unit: "short", Width: 8, Height: 9, Warn: 1, Page: 100,
					Description: "Response bodies that were neither closed nor read for a minute, in the last hour; each holds a connection. Close the body also where the status is an error.",
					Queries:     []Query{{Expr: sum("increase("+s.now(unclosedBodies)+"[1h])", "server_address", "url_template"), Legend: "{{server_address}} {{url_template}}"}}},
				{Title: "Name lookups p95", Kind: Series, Unit: "s", Width: 8, Height: 9, Log: true,
					Description: "For new connections only. Five seconds and multiples of it: a lost packet and the resolver's time-out.",
					Queries:     []Query{{Expr: s.quantile(0.95, dnsLookups, "dns_question_name"), Legend: "{{dns_question_name}}"}}},
				{Title: "Name lookups that failed", Kind: Series, Unit: "reqps", Width: 8, Height: 9, Stack: true,
					Description: "In Kubernetes, look at the search domains (ndots) and at CoreDNS.",
					Queries:     []Query{{Expr: s.where(anyError).count(dnsLookups, "dns_question_name", "error_type"), Legend: "{{dns_question_name}} {{error_type}}"}}},
				{Title: "Lifetime of connections p50", Kind: Series, Unit: "s", Width: 8, Height: 9, Log: true,
					Description: "Of those that were closed. A sharp value is somebody's idle timeout; ours should be shorter than theirs, or a request goes out on a connection that they just closed.",
					Queries:     []Query{{Expr: s.quantile(0.5, connectionLife, "server_address", "server_port"), Legend: "{{server_address}}:{{server_port}}"}}},
			}},
			{Title: "Databases and their pools", Panels: []Panel{
				table("Operations, most time first", "Rate times duration: what to make faster first.", operations(dbOperations, "db_namespace", "db_system_name", "db_operation_name")),
				{Title: "Errors by type", Kind: Series, Unit: "reqps", Width: 8, Height: 9, Stack: true,
					Description: "By database. Serialization failures want a retry, connection errors the database's own page.",
					Queries:     []Query{{Expr: s.where(anyError).count(dbOperations, "db_namespace", "error_type"), Legend: "{{db_namespace}} {{error_type}}"}}},
				{Title: "Pool: used of allowed", Kind: Series, Unit: "percentunit", Width: 8, Height: 9, Warn: 0.8, Page: 0.95,
					Description: "Full is fine; full while goroutines wait (beside) is not. No line for a pool without a limit.",
					Queries:     []Query{{Expr: s.poolShare(pool...), Legend: "{{instance}} {{db_client_connection_pool_name}}"}}},
				{Title: "Goroutines waiting for a connection", Kind: Series, Unit: "short", Width: 8, Height: 9, Warn: 0.5, Page: 5,
					Description: "On average. Slow queries first, then rows that are not closed, then a larger pool.",
					Queries:     []Query{{Expr: sum(s.rate(dbWaitSeconds), pool...), Legend: "{{instance}} {{db_client_connection_pool_name}}"}}},
				{Title: "Connections by state", Kind: Series, Unit: "short", Width: 8, Height: 9, Stack: true,
					Description: "All chosen instances. Many idle at all times: the pool is larger than it needs to be, and the database has a limit too.",
					Queries:     []Query{{Expr: sum(s.now(dbConnections), "db_client_connection_pool_name", "db_client_connection_state"), Legend: "{{db_client_connection_pool_name}} {{db_client_connection_state}}"}}},
				{Title: "Waits for a connection", Kind: Series, Unit: "ops", Width: 8, Height: 9,
					Description: "How often a goroutine found the pool empty.",
					Queries:     []Query{{Expr: sum(s.rate(dbWaits), pool...), Legend: perPool}}},
				{Title: "One wait", Kind: Series, Unit: "s", Width: 8, Height: 9,
					Description: "It comes on top of the operation's own duration. The mean is exact; the p95 sees waits that ended between two looks as their mean.",
					Queries: []Query{
						{Expr: ratio(sum(s.rate(dbWaitSeconds), pool...), sum(s.rate(dbWaits), pool...)), Legend: "mean " + perPool},
						{Expr: s.quantile(0.95, dbWaitTime, pool...), Legend: "p95 " + perPool}}},
				{Title: "Goroutines waiting at the scrape", Kind: Series, Unit: "short", Width: 8, Height: 9,
					Description: "A line that stays where it is while no wait ends: connections are not given back at all.",
					Queries:     []Query{{Expr: sum(s.now(dbPending), pool...), Legend: perPool}}},
				{Title: "One use of a connection, p95", Kind: Series, Unit: "s", Width: 8, Height: 9,
					Description: "From its first operation to its return. Much longer than the operations: rows are read slowly, or a transaction is held over something else.",
					Queries:     []Query{{Expr: s.quantile(0.95, dbUseTime, pool...), Legend: perPool}}},
				{Title: "Opening a connection", Kind: Series, Unit: "s", Width: 8, Height: 9,
					Description: "The p95. Connections that could not be opened in time are beside.",
					Queries:     []Query{{Expr: s.quantile(0.95, dbCreateTime, pool...), Legend: perPool}}},
				{Title: "Connections closed and not opened", Kind: Series, Unit: "ops", Width: 8, Height: 9,
					Description: "Many by max_idle: a pool keeps fewer idle connections than it needs, and opens new ones in turn (SetMaxIdleConns, 2 by default).",
					Queries: []Query{
						{Expr: sum(s.rate(dbClosed), "db_client_connection_pool_name", "reason"), Legend: "{{db_client_connection_pool_name}} {{reason}}"},
						{Expr: sum(s.rate(dbTimeouts), "db_client_connection_pool_name"), Legend: "{{db_client_connection_pool_name}} not opened in time"}}},
				{Title: "Idle connections of those kept", Kind: Series, Unit: "percentunit", Width: 8, Height: 9,
					Description: "At 1 the next connection that is given back is closed.",
					Queries:     []Query{{Expr: ratio(sum(s.where(`db_client_connection_state="idle"`).now(dbConnections), pool...), sum(s.now(dbIdleMax), pool...)), Legend: perPool}}},
				{Title: "Left open", Kind: Series, Unit: "short", Width: 8, Height: 9, Page: 1,
					Description: "Rows and transactions that hold a connection and were left alone for a minute and more. The admin page of the instance tells which.",
					Queries:     []Query{{Expr: sum(s.now(dbUnclosed), append(pool, "kind")...), Legend: perPool + " {{kind}}"}}},
			}},
			{Title: "Queries and transactions", Panels: []Panel{
				table("Queries, most time first", "One row for each verb with its tables; the text of a statement is on its span and in the record of a slow query.", []Query{
					{Expr: queries.count(dbOperations, query...), Legend: "Rate", Unit: "reqps"},
					{Expr: queries.share(dbOperations, anyError, query...), Legend: "Failed", Unit: "percentunit", Warn: c.DependencyErrors / 2, Page: c.DependencyErrors},
					{Expr: queries.quantile(0.5, dbOperations, query...), Legend: "p50", Unit: "s"},
					{Expr: queries.quantile(0.99, dbOperations, query...), Legend: "p99", Unit: "s"},
					{Expr: ratio(queries.total(dbRows, query...), queries.count(dbRows, query...)), Legend: "Rows", Unit: "short"},
					{Expr: queries.total(dbOperations, query...), Legend: "Seconds a second", Unit: "short"},
				}),
				{Title: "Queries in a loop", Kind: Series, Unit: "ops", Width: 8, Height: 9,
					Description: "Requests that ran one query more often than Config.RepeatedQueries allows (10). Load the rows with one query, by IN or a join.",
					Queries:     []Query{{Expr: sum(s.rate(dbRepeated), "http_route", "db_query_summary"), Legend: "{{http_route}} {{db_query_summary}}"}}},
				{Title: "Rows read", Kind: Series, Unit: "short", Width: 8, Height: 9,
					Description: "A second, by query. Thousands for one request: a LIMIT is missing, or the server should do the sum.",
					Queries:     []Query{{Expr: "topk(10, " + queries.total(dbRows, query...) + ")", Legend: "{{db_namespace}} {{db_query_summary}}"}}},
				{Title: "Transactions by result", Kind: Series, Unit: "ops", Width: 8, Height: 9, Stack: true,
					Description: "abandoned: the context or the connection ended before the commit. error: the end itself failed, and only the server knows the result.",
					Queries:     []Query{{Expr: s.count(dbTransactions, "db_namespace", "result"), Legend: "{{db_namespace}} {{result}}"}}},
				{Title: "One transaction, p95", Kind: Series, Unit: "s", Width: 8, Height: 9,
					Description: "What it has locked is locked so long.",
					Queries:     []Query{{Expr: s.quantile(0.95, dbTransactions, "db_namespace", "result"), Legend: "{{db_namespace}} {{result}}"}}},
			}},
			{Title: "Remote procedures and messages", Collapsed: true, Panels: []Panel{
				table("Remote procedures, most time first", "One row for each method, from the client spans of instrumented libraries.", operations(rpcCalls, "rpc_system_name", "server_address", "rpc_method")),
				table("Sent and received, most time first", "One row for each destination and operation.", operations(messageCalls, "messaging_system", "messaging_destination_name", "messaging_operation_name")),
				table("Messages processed, most time first", "The consumer's side: what the handlers of messages take.", operations(messagesHandled, "messaging_system", "messaging_destination_name", "messaging_operation_name")),
			}},
			{Title: "Other calls", Collapsed: true, Panels: []Panel{
				table("Calls, most time first", "What was wrapped with Call: one row for each dependency and operation.", operations(calls, "dependency", "operation")),
				{Title: "Errors by type", Kind: Series, Unit: "reqps", Width: 12, Height: 9, Stack: true,
					Description: "By dependency.",
					Queries:     []Query{{Expr: s.where(anyError).count(calls, "dependency", "error_type"), Legend: "{{dependency}} {{error_type}}"}}},
				{Title: "Distribution of durations", Kind: Heatmap, Unit: "s", Width: 12, Height: 9, Exemplars: true,
					Description: "All of them together.",
					Queries:     []Query{{Expr: s.heat(calls), Legend: "{{le}}"}}},
			}},
		}, c.queueRows()...),
	}
}
