package plan

// leakAlerts tell what the leak watch of each instance has found. The two
// alerts on floors stay beside them, for programs whose watch is off or cannot
// see everything.
func (c Config) leakAlerts() []Alert {
	instance := []string{"job", "instance"}
	found := func(kinds string) string {
		return sum("min_over_time("+leakSuspects+"{kind"+kinds+"}[5m])", append([]string{"kind"}, perInstance...)...) + " > 0"
	}
	return []Alert{
		{
			Name: "GoGoroutineLeak", Severity: Ticket, Category: "leak",
			Expr:        "min_over_time(" + leakedGoroutines + "[5m]) > 0",
			For:         "5m",
			Keep:        "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} leaks goroutines: {{ $value | humanize }} started at {{ $labels.site }}`,
			Description: `Goroutines from this place only grow, the old ones do not end, and the load does not explain it.`,
			Advice: `GET /debug/leaks on the admin address: where they are stuck, the whole stack, how many more an hour, since when.
Usual: a missing cancel, a channel that nobody reads, a response body that is not closed. Reproduce it in a test with leakcheck.Verify(t). A restart buys time.`,
			Dashboard: RuntimeUID, Vars: instance,
		},
		{
			Name: "GoHeapLeak", Severity: Ticket, Category: "leak",
			Expr: found(`="heap"`),
			For:  "5m", Keep: "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} leaks memory: {{ $value | humanize }} place(s) in the code allocate what is never freed`,
			Description: `What these places have allocated and is still in use after each collection only grows, and does not slow down as a cache does that fills.`,
			Advice: `GET /debug/leaks on the admin address: the function and line, how much more an hour, when the memory limit is reached at this growth.
Usual: a map that is never pruned, a cache without a bound, a slice that holds a large array, timers that are never stopped.`,
			Dashboard: RuntimeUID, Vars: instance,
		},
		{
			Name: "FileDescriptorLeak", Severity: Ticket, Category: "leak",
			Expr: found(`=~"file|socket|pipe|descriptor"`),
			For:  "5m", Keep: "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} leaks descriptors of kind {{ $labels.kind }}: {{ $value | humanize }} directories or peers`,
			Description: `Files of one directory, connections to one peer, or pipes only grow, and the old ones are never closed. At the limit neither accept nor dial nor open works.`,
			Advice: `GET /debug/leaks on the admin address: which directory or peer, how many, how many more an hour. "File descriptors of their limit" on the Runtime page says how much time there is.
Usual: a missing Close on an error path, a response body that is not closed, a client made for each request.`,
			Dashboard: RuntimeUID, Vars: instance,
		},
		{
			Name: "SocketsInCloseWait", Severity: Ticket, Category: "leak",
			Expr: found(`="close_wait"`),
			For:  "5m", Keep: "10m",
			Summary:     `{{ $labels.instance }} of {{ $labels.job }} does not close connections whose peer has gone, of {{ $value | humanize }} peer(s)`,
			Description: `More and more sockets are in CLOSE_WAIT: the peer has closed, this program has not. Each holds a descriptor until the process ends; no time-out frees it.`,
			Advice: `GET /debug/leaks on the admin address: which peer, or which port they were accepted on. Outgoing: a response body or a connection that is dropped without Close.
Accepted: a hijacked connection or an own listener whose reader does not notice the end.`,
			Dashboard: RuntimeUID, Vars: instance,
		},
	}
}
