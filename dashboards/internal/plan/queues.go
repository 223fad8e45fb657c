package plan

// Work that is not a request: jobs, the queues they come from, caches, streams.

// jobRow is a row of the Service page.
func (c Config) jobRow() Row {
	s := onPanel
	const job = "job_name"
	return Row{Title: "Jobs", Collapsed: true, Panels: []Panel{
		{Title: "Jobs, most time first", Kind: Table, Width: 24, Height: 8, SortBy: "Seconds a second",
			Description: "What was run with Run, one row for each job. Failed counts errors and panics, and not what was cancelled.",
			Queries: []Query{
				{Expr: s.count(jobRuns, job), Legend: "Rate", Unit: "ops"},
				{Expr: s.share(jobRuns, jobFailed, job), Legend: "Failed", Unit: "percentunit", Warn: c.JobErrors / 2, Page: c.JobErrors},
				{Expr: s.quantile(0.5, jobRuns, job), Legend: "p50", Unit: "s"},
				{Expr: s.quantile(0.95, jobRuns, job), Legend: "p95", Unit: "s"},
				{Expr: s.quantile(0.99, jobRuns, job), Legend: "p99", Unit: "s"},
				{Expr: s.quantile(0.95, jobWaits, job), Legend: "Wait p95", Unit: "s"},
				{Expr: s.total(jobRuns, job), Legend: "Seconds a second", Unit: "short"}}},
		{Title: "Under way", Kind: Series, Unit: "short", Width: 8, Height: 8,
			Description: "Runs that have begun and not ended. As many as there are workers, and the queue grows: add workers, or make the job faster.",
			Queries:     []Query{{Expr: sum(s.now(jobsActive), job), Legend: "{{job_name}}"}}},
		{Title: "Wait in the queue p50, p95", Kind: Series, Unit: "s", Width: 8, Height: 8, Exemplars: true,
			Description: "From being enqueued to being run, where the job tells when it was enqueued. Rising at a steady duration: too few workers.",
			Queries: []Query{
				{Expr: s.quantile(0.95, jobWaits, job), Legend: "{{job_name}} p95"},
				{Expr: s.quantile(0.5, jobWaits, job), Legend: "{{job_name}} p50"}}},
		{Title: "Errors by type", Kind: Series, Unit: "ops", Width: 8, Height: 8, Stack: true,
			Description: "Runs that failed. canceled is a run that a shutdown or a deadline of the caller ended.",
			Queries:     []Query{{Expr: s.where(anyError).count(jobRuns, job, "error_type"), Legend: "{{job_name}} {{error_type}}"}}},
		{Title: "Retries of all runs", Kind: Series, Unit: "percentunit", Width: 8, Height: 8,
			Description: "Share of runs that were not the first attempt. Near 100 % a few poisoned jobs go round and round: look for one that can never succeed.",
			Queries:     []Query{{Expr: ratio(sum(s.rate(jobRetries), job), s.count(jobRuns, job)), Legend: "{{job_name}}"}}},
		{Title: "Since the last success", Kind: Series, Unit: "s", Width: 8, Height: 8,
			Description: "Of whichever instance succeeded last. A saw-tooth is a job on a schedule; a tooth that is higher than the others was missed.",
			Queries:     []Query{{Expr: "time() - " + most(s.now(jobSuccess), job), Legend: "{{job_name}}"}}},
		{Title: "Overdue, of the interval", Kind: Series, Unit: "percentunit", Width: 8, Height: 8, Warn: 0.25, Page: 0.5,
			Description: "By how much an expected job is late, on the instance where it is the least. Above half of its interval: JobOverdue.",
			Queries:     []Query{{Expr: least(s.now(jobOverdue), job) + " / " + most(s.now(jobInterval), job), Legend: "{{job_name}}"}}},
	}}
}

// queueRows are rows of the Dependencies page.
func (c Config) queueRows() []Row {
	s := onPanel
	const queue, cache, stream = "queue", "cache", "stream"
	return []Row{
		{Title: "Queues", Collapsed: true, Panels: []Panel{
			{Title: "Items that wait", Kind: Series, Unit: "short", Width: 8, Height: 8,
				Description: "Of each queue; where several instances watch one queue, or each has its own of that name, the largest. A line that only rises is work that nobody will catch up with.",
				Queries:     []Query{{Expr: most(s.now(queueLength), queue), Legend: "{{queue}}"}}},
			{Title: "Full", Kind: Series, Unit: "percentunit", Width: 8, Height: 8, Warn: c.QueueFill * 0.8, Page: c.QueueFill,
				Description: "Items of the room there is, where there is a limit. At 100 % senders wait or are refused.",
				Queries:     []Query{{Expr: s.queueFill("job", "instance", queue), Legend: "{{instance}} {{queue}}"}}},
			{Title: "Oldest item", Kind: Series, Unit: "s", Width: 8, Height: 8,
				Description: "How long the first in line has been waiting, where the queue tells. It rises by a second a second when nobody takes anything.",
				Queries:     []Query{{Expr: most(s.now(queueOldest), queue), Legend: "{{queue}}"}}},
			{Title: "Arrival and service", Kind: Series, Unit: "ops", Width: 8, Height: 8,
				Description: "Items put in and taken out a second, by the queue's own count. Arrival above service is the backlog that is to come.",
				Queries: []Query{
					{Expr: most(s.rate(queueAdded), queue), Legend: "{{queue}} in"},
					{Expr: most(s.rate(queueTaken), queue), Legend: "{{queue}} out"}}},
			{Title: "Handed out and not done", Kind: Series, Unit: "short", Width: 8, Height: 8,
				Description: "Unacknowledged or pending. Flat at the prefetch limit: the consumers are the bottleneck. Rising without end: acknowledgements are forgotten.",
				Queries:     []Query{{Expr: most(s.now(queueUnacked), queue), Legend: "{{queue}}"}}},
			{Title: "Consumers", Kind: Series, Unit: "short", Width: 8, Height: 8,
				Description: "Who takes from the queue. Zero with items waiting: they crashed, or were never started.",
				Queries:     []Query{{Expr: most(s.now(queueConsumers), queue), Legend: "{{queue}}"}}},
			{Title: "Which side of a channel waits", Kind: Series, Unit: "short", Width: 8, Height: 8,
				Description: "Goroutines that wait, on average. Senders: the receivers are too slow. Receivers: there is nothing to do.",
				Queries:     []Query{{Expr: sum(s.rate(queueBlocked), queue, "side"), Legend: "{{queue}} {{side}}"}}},
			{Title: "Messages sent and processed", Kind: Series, Unit: "ops", Width: 8, Height: 8,
				Description: "By destination, as this service counts them. Sending goes on and processing stops: look at the consumers.",
				Queries: []Query{
					{Expr: sum(s.rate(messagesSent), "messaging_destination_name", "error_type"), Legend: "{{messaging_destination_name}} sent {{error_type}}"},
					{Expr: sum(s.rate(messagesTaken), "messaging_destination_name"), Legend: "{{messaging_destination_name}} processed"}}},
			{Title: "Queues and caches that cannot be read", Kind: Series, Unit: "ops", Width: 8, Height: 8, Warn: 0.05, Page: 0.2,
				Description: "Their values are absent meanwhile, and so are alerts on them. The log has a line a minute with the error.",
				Queries:     []Query{{Expr: sum(s.rate(sourceFailures), "source", "name"), Legend: "{{source}} {{name}}"}}},
		}},
		{Title: "Streams", Collapsed: true, Panels: []Panel{
			{Title: "Bytes", Kind: Series, Unit: "Bps", Width: 12, Height: 8,
				Description: "By stream and side. The two sides apart: something buffers between them.",
				Queries:     []Query{{Expr: sum(s.rate(streamBytes), stream, "side"), Legend: "{{stream}} {{side}}"}}},
			{Title: "Which side waits", Kind: Series, Unit: "short", Width: 12, Height: 8,
				Description: "Goroutines inside Read or Write, on average. read: the source is slow. write: the sink is, and pushes back.",
				Queries:     []Query{{Expr: sum(s.rate(streamBlocked), stream, "side"), Legend: "{{stream}} {{side}}"}}},
		}},
		{Title: "Caches", Collapsed: true, Panels: []Panel{
			{Title: "Hits of look-ups", Kind: Series, Unit: "percentunit", Width: 8, Height: 8,
				Description: "A fall with steady traffic: somebody asks for what nobody else does, the cache is too small, or its entries expire together.",
				Queries:     []Query{{Expr: ratio(sum(s.where(`result="hit"`).rate(cacheRequests), cache), sum(s.rate(cacheRequests), cache)), Legend: "{{cache}}"}}},
			{Title: "Evictions", Kind: Series, Unit: "ops", Width: 8, Height: 8,
				Description: "Entries that had to go. Many at a low share of hits: the cache is too small for what is asked.",
				Queries:     []Query{{Expr: sum(s.rate(cacheEvictions), cache), Legend: "{{cache}}"}}},
			{Title: "Loads at the same time of one key", Kind: Series, Unit: "ops", Width: 8, Height: 8,
				Description: "Stampedes: each is work for nothing, in the moment that an entry is missing which everybody wants. singleflight around the load ends them.",
				Queries:     []Query{{Expr: sum(s.rate(cacheStampedes), cache), Legend: "{{cache}}"}}},
			{Title: "Entries and room", Kind: Series, Unit: "short", Width: 8, Height: 8,
				Description: "Of each cache, all chosen instances. Full is what a cache should be.",
				Queries: []Query{
					{Expr: sum(s.now(cacheEntries), cache), Legend: "{{cache}}"},
					{Expr: sum(s.now(cacheCapacity), cache), Legend: "{{cache}} room"}}},
			{Title: "Size", Kind: Series, Unit: "bytes", Width: 8, Height: 8,
				Description: "Bytes that the entries take, where the cache tells. Rising without end: a cache without a bound is a leak.",
				Queries:     []Query{{Expr: sum(s.now(cacheBytes), cache), Legend: "{{cache}}"}}},
			{Title: "Loads p50, p99", Kind: Series, Unit: "s", Width: 8, Height: 8, Exemplars: true,
				Description: "What a miss costs.",
				Queries: []Query{
					{Expr: s.quantile(0.99, cacheLoads, cache), Legend: "{{cache}} p99"},
					{Expr: s.quantile(0.5, cacheLoads, cache), Legend: "{{cache}} p50"}}},
		}},
	}
}
