package plan

// Diagnosis puts the suspects on one time axis under the symptom.
func (c Config) Diagnosis() Dashboard {
	s := onPanel
	each := []string{"job", "instance"}
	rate := func(metric string) string { return sum(s.rate(metric)) }
	suspect := func(title, unit, description string, warn, page float64, drill string, queries ...Query) Panel {
		return Panel{Title: title, Kind: Series, Unit: unit, Width: 8, Height: 8, Warn: warn, Page: page, Drill: drill, Description: description, Queries: queries}
	}
	var callees []Query
	for _, k := range callKinds {
		callees = append(callees, Query{Expr: byCallee(k, s.total(k.metric(), k.labels()...)), Legend: "{{dependency}}"})
	}
	return Dashboard{
		UID:         DiagnosisUID,
		Title:       "Loadline / Diagnosis",
		Description: "Why is it slow? The suspects on one time axis, under the symptom.",
		Rows: []Row{
			{Title: "The symptom", Panels: []Panel{
				{Title: "How to read this page", Kind: Text, Width: 6, Height: 8,
					Description: "Begin with **time in requests**: goroutine-seconds a second, the unit of most panels here. If it did not rise, nobody is hurt, whatever else is high.\n\n" +
						"If it rose: the suspect is what rose with it **and is large beside it**.\n\n" +
						"A long wait for a processor (1) also makes calls look slow (4): rule 1 out first. `GET /debug/doctor` on the admin address does this arithmetic."},
				{Title: "Time in requests", Kind: Series, Unit: "short", Width: 9, Height: 8,
					Description: "Requests being handled, on average: rate times duration. This is what the suspects are compared with.",
					Queries: []Query{
						{Expr: s.total(serverRequests), Legend: "in requests"},
						{Expr: sum(s.now(serverActive)), Legend: "in flight at the scrape"}}},
				{Title: "p99 and p50", Kind: Series, Unit: "s", Width: 9, Height: 8, Exemplars: true, Drill: ServiceUID,
					Description: "p99 alone rising: some requests wait for something. Both: everything is slower.",
					Queries: []Query{
						{Expr: s.quantile(0.99, serverRequests), Legend: "p99"},
						{Expr: s.quantile(0.5, serverRequests), Legend: "p50"}}},
			}},
			{Title: "What the doctor finds", Panels: []Panel{
				{Title: "Findings", Kind: Timeline, Unit: "short", Width: 12, Height: 8, Warn: 1, Page: 1,
					Description: "Each cause that an instance finds, with what it blames; red while it does. GET /debug/doctor on the admin address has the proof and the next command.",
					Queries:     []Query{{Expr: most(s.now(findingActive), "job", "cause", "subject"), Legend: "{{job}} {{cause}} {{subject}}"}}},
				{Title: "What they cost", Kind: Series, Unit: "percentunit", Width: 6, Height: 8,
					Description: "Share of the users' time, worst instance. What costs most is to be mended first.",
					Queries:     []Query{{Expr: most(s.now(findingShare), "cause", "subject"), Legend: "{{cause}} {{subject}}"}}},
				{Title: "Where the time of requests goes", Kind: Series, Unit: "short", Width: 6, Height: 8, Stack: true,
					Description: "Goroutine-seconds a second of the requests that ended: running, ready to run, collecting, at locks, for a connection, in each dependency, and the rest.",
					Queries:     []Query{{Expr: sum(s.rate(routeTime), "part"), Legend: "{{part}}"}}},
			}},
			{Title: "The suspects", Panels: []Panel{
				suspect("1. Waiting for a processor", "short", "Goroutines, on average. Then: CPU of GOMAXPROCS near 100 % is load, throttled periods are the limit, neither is a neighbour on the host.", 0, 0, RuntimeUID,
					Query{Expr: rate(schedTotal), Legend: "goroutines"}, Query{Expr: rate(throttledSeconds), Legend: "CPUs taken by the quota"}, Query{Expr: rate(runDelay), Legend: "threads waiting for the kernel"}),
				suspect("2. Waiting for a lock", "short", "Goroutines, on average. Near the time in requests: a lock is held while something slow happens. Next: the mutex profile.", 0, 0, RuntimeUID,
					Query{Expr: rate(mutexWait), Legend: "goroutines"}),
				suspect("3. The collector", "percentunit", "Share of the used CPU, worst instance. Next: the allocation profile; at the memory limit, more memory.", c.GCShare, c.GCSharePage, RuntimeUID,
					Query{Expr: most(s.gcShare(each...)), Legend: "worst instance"}),
				suspect("4. Calls", "short", "Goroutines in calls, on average, by what is called. It rises with the time in requests and 1 does not: it is them.", 0, 0, DependenciesUID, callees...),
				suspect("5. Waiting for a connection", "short", "Goroutines waiting for a pool, on average. Slow queries, rows that are not closed, or a pool that is too small.", 0.5, 5, DependenciesUID,
					Query{Expr: sum(s.rate(dbWaitSeconds), "db_client_connection_pool_name"), Legend: "{{db_client_connection_pool_name}}"}),
				suspect("6. Traffic", "reqps", "More requests than usual need no other cause. Rate level while time rises: each of them is slower.", 0, 0, ServiceUID,
					Query{Expr: s.count(serverRequests), Legend: "now"}, Query{Expr: s.ago("1d").count(serverRequests), Legend: "1 day ago"}, Query{Expr: s.ago("1w").count(serverRequests), Legend: "7 days ago"}),
			}},
			{Title: "What is full?", Panels: []Panel{
				{Title: "Saturation by resource", Kind: Series, Unit: "percentunit", Width: 24, Height: 9, Warn: 0.8, Page: 0.95,
					Description: "Every resource on one scale, worst instance each: the highest line is the next bottleneck, or the present one.",
					Queries: []Query{
						{Expr: most(s.cpuShare(each...)), Legend: "CPU"},
						{Expr: most(s.throttleShare(each...)), Legend: "throttled periods"},
						{Expr: "1 - min(" + s.now(headroom) + ")", Legend: "memory"},
						{Expr: most(s.descriptorShare(each...)), Legend: "file descriptors"},
						{Expr: most(s.poolShare("job", "instance", "db_client_connection_pool_name")), Legend: "database pool"},
						{Expr: most(s.where(`scope="host", resource="cpu"`).rate(pressureWaiting)), Legend: "host: CPU pressure"},
						{Expr: most(s.where(`scope="host", resource="io"`).rate(pressureWaiting)), Legend: "host: disk pressure"}}},
			}},
		},
	}
}
