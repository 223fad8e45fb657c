package plan

import (
	"fmt"
	"strings"
)

// Invented series. One tick is a minute, the interval of every test file.

// steady grows by n a minute, long enough for every scenario of hours.
func steady(n float64) string { return fmt.Sprintf("0+%gx400", n) }

// flat stays at v.
func flat(v float64) string { return fmt.Sprintf("%gx400", v) }

// classic is a histogram that gets n observations a minute, all of them in the
// bucket that ends at le, of these bounds.
func classic(metric, labels string, n, le float64, bounds ...float64) []Input {
	in := []Input{
		{metric + "_count{" + labels + "}", steady(n)},
		{metric + "_sum{" + labels + "}", steady(n * le * 0.9)},
		{metric + `_bucket{` + labels + `, le="+Inf"}`, steady(n)},
	}
	for _, b := range bounds {
		grows := 0.0
		if b >= le {
			grows = n
		}
		in = append(in, Input{fmt.Sprintf(`%s_bucket{%s, le="%g"}`, metric, labels, b), steady(grows)})
	}
	return in
}

// native is a native histogram that gets n observations a minute between 1 and
// 2 seconds (schema 0: the bucket with index 1).
func native(metric, labels string, n float64) []Input {
	h := func(n float64) string { return fmt.Sprintf("{{schema:0 sum:%g count:%g buckets:[0 %g]}}", n*1.5, n, n) }
	return []Input{{metric + "{" + labels + "}", h(0) + "+" + h(n) + "x100"}}
}

var requestBounds = []float64{0.1, 0.5, 1, 2.5, 10}

// route is n requests a minute to one route of one instance, each taking le.
func route(instance, path, status string, n, le float64) []Input {
	return classic(serverRequests, fmt.Sprintf(`job="shop", instance=%q, http_request_method="GET", http_route=%q, http_response_status_code=%q`, instance, path, status), n, le, requestBounds...)
}

func scheduler(instance string, le float64) []Input {
	return classic(schedWait, fmt.Sprintf(`job="shop", instance=%q`, instance), 6000, le, 0.001, 0.01, 0.02, 0.1, 0.2, 1)
}

// cpu is a process that uses share of two processors.
func cpu(instance string, share float64) []Input {
	id := instanceOf(instance)
	return []Input{
		{processCPU + "{" + id + `, cpu_mode="user"}`, steady(share * 2 * 60)},
		{processors + "{" + id + "}", flat(2)},
	}
}

// collector takes share of the used CPU.
func collector(instance string, share float64) []Input {
	id := instanceOf(instance)
	return []Input{
		{cpuTime + "{" + id + `, go_cpu_state="gc"}`, steady(60 * share)},
		{cpuTime + "{" + id + `, go_cpu_state="user"}`, steady(60 * (1 - share))},
		{cpuTime + "{" + id + `, go_cpu_state="idle"}`, steady(60)},
	}
}

func memory(instance string, used, limit float64) []Input {
	id := instanceOf(instance)
	in := []Input{
		{memoryUsed + "{" + id + `, go_memory_type="other"}`, flat(used * 0.9)},
		{memoryUsed + "{" + id + `, go_memory_type="stack"}`, flat(used * 0.1)},
	}
	if limit > 0 {
		in = append(in, Input{memoryMax + "{" + id + "}", flat(limit)})
	}
	return in
}

func instanceOf(instance string) string { return fmt.Sprintf(`job="shop", instance=%q`, instance) }

// alive is an instance that is scraped and says who it is.
func alive(instance, version string) []Input {
	return []Input{
		{up + "{" + instanceOf(instance) + "}", flat(1)},
		{buildInfo + "{" + instanceOf(instance) + fmt.Sprintf(`, service_name="shop", service_version=%q}`, version), flat(1)},
		{uptime + "{" + instanceOf(instance) + "}", "36000+60x400"},
	}
}

// one is a single series of instance a.
func one(metric, values string, labels ...string) []Input {
	return []Input{{metric + "{" + strings.Join(append([]string{instanceOf("a")}, labels...), ", ") + "}", values}}
}

func together(parts ...[]Input) []Input {
	var all []Input
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// Scenarios returns what the alerts are tested with. Each alert has one at
// least in which it must fire and one in which it must not, chosen where the
// condition is nearly met.
func Scenarios() []Scenario {
	return together2(healthyScenarios(), sloScenarios(), httpScenarios(), runtimeScenarios(), leakScenarios(), doctorScenarios(), dependencyScenarios(), jobScenarios(), availabilityScenarios(), telemetryScenarios(), dayScenarios(), nativeScenarios())
}

func together2(parts ...[]Scenario) []Scenario {
	var all []Scenario
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func httpScenarios() []Scenario {
	stuck := one(serverActive, flat(8), `http_request_method="GET"`)
	served := one(serverRequests+"_count", "0+600x30 18000x370", `http_request_method="GET"`, `http_route="/pay"`, `http_response_status_code="200"`)
	return []Scenario{
		{Name: "a quiet hour", At: "60m",
			Series: together(alive("a", "1"), alive("b", "1"), route("a", "/pay", "200", 600, 0.1), route("b", "/pay", "200", 600, 0.1), route("a", "/pay", "500", 1, 0.1),
				scheduler("a", 0.001), cpu("a", 0.3), collector("a", 0.05), memory("a", 5e8, 1e9), one(serverActive, flat(3), `http_request_method="GET"`)),
			Fires: []string{"Watchdog"},
			Silent: []string{"SLOBudgetBurnFast", "SLODataMissing", "HTTPRouteErrorsHigh", "HTTPRouteErrorsCritical", "HTTPRouteLatencyP99High", "HTTPRequestsStuck", "PanicsRecovered",
				"GoSchedulerLatencyHigh", "GoSchedulerLatencyCritical", "GoCPUSaturated", "GoGCCPUHigh", "GoGCDeathSpiral", "GoMemoryNearLimit",
				"TargetDown", "ServiceDown", "ServiceVanished", "ReplicaOutlier", "VersionSkew", "TelemetryLost", "TelemetrySeriesOverflow"}},
		{Name: "just started, with one slow request and one failed", At: "15m",
			Series: together([]Input{
				{up + "{" + instanceOf("a") + "}", "_x10 1x20"},
				{buildInfo + "{" + instanceOf("a") + `, service_version="1"}`, "_x10 1x20"},
				{uptime + "{" + instanceOf("a") + "}", "_x10 5+60x20"},
				{serverRequests + "_count{" + instanceOf("a") + `, http_request_method="GET", http_route="/pay", http_response_status_code="500"}`, "_x10 1x20"},
				{serverRequests + "_bucket{" + instanceOf("a") + `, http_request_method="GET", http_route="/pay", http_response_status_code="500", le="10"}`, "_x10 1x20"},
				{serverRequests + "_bucket{" + instanceOf("a") + `, http_request_method="GET", http_route="/pay", http_response_status_code="500", le="+Inf"}`, "_x10 1x20"},
			}),
			Silent: []string{"HTTPRouteErrorsHigh", "HTTPRouteErrorsCritical", "HTTPRouteLatencyP99High", "HTTPRequestsStuck", "ProcessRestartingOften", "ServiceDown", "ServiceVanished", "TargetDown"}},
		{Name: "a fifth of a busy route fails", At: "30m",
			Series: together(route("a", "/pay", "200", 80, 0.1), route("a", "/pay", "500", 20, 0.1), route("a", "/list", "200", 600, 0.1)),
			Fires:  []string{"HTTPRouteErrorsHigh"}, Silent: []string{"HTTPRouteErrorsCritical"}},
		{Name: "half of a busy route fails", At: "30m",
			Series: together(route("a", "/pay", "200", 50, 0.1), route("a", "/pay", "503", 50, 0.1)),
			Fires:  []string{"HTTPRouteErrorsHigh", "HTTPRouteErrorsCritical"}},
		{Name: "the only request in two minutes fails, each time", At: "60m",
			Series: route("a", "/pay", "500", 0.5, 0.1),
			Silent: []string{"HTTPRouteErrorsHigh", "HTTPRouteErrorsCritical"}},
		{Name: "clients ask for what is not there", At: "30m",
			Series: route("a", "unmatched", "404", 500, 0.1),
			Silent: []string{"HTTPRouteErrorsHigh", "HTTPRouteErrorsCritical"}},
		{Name: "every request takes two seconds", At: "30m",
			Series: route("a", "/pay", "200", 100, 2.5),
			Fires:  []string{"HTTPRouteLatencyP99High"}},
		{Name: "three slow requests in five minutes", At: "30m",
			Series: route("a", "/pay", "200", 0.6, 2.5),
			Silent: []string{"HTTPRouteLatencyP99High"}},
		{Name: "requests in flight and none ends", At: "45m",
			Series: together(stuck, served),
			Fires:  []string{"HTTPRequestsStuck"}},
		{Name: "requests in flight and they end", At: "45m",
			Series: together(stuck, route("a", "/pay", "200", 60, 0.1)),
			Silent: []string{"HTTPRequestsStuck"}},
		{Name: "open streams and no other request", At: "45m",
			Series: together(stuck, served, classic(serverStreams, instanceOf("a")+`, http_request_method="GET", http_route="/events"`, 0.1, 60, 60, 300)),
			Silent: []string{"HTTPRequestsStuck"}},
		{Name: "the first panic ever", At: "35m",
			Series: one(panics, "_x30 1x100", `http_route="/pay"`),
			Fires:  []string{"PanicsRecovered"}},
		{Name: "a panic an hour ago", At: "90m",
			Series: one(panics, "1x200", `http_route="/pay"`),
			Silent: []string{"PanicsRecovered"}},
	}
}

func runtimeScenarios() []Scenario {
	container := func(used float64) []Input {
		return together(one(containerWorkingSet, flat(used)), one(containerMemoryLimit, flat(1e9)))
	}
	throttled := together(one(periods, steady(600)), one(throttledPeriods, steady(300)))
	descriptors := func(open float64) []Input {
		return together(one(openFDs, flat(open)), one(maxFDs, flat(1000)))
	}
	shrinking := func(left float64) []Input {
		return together(one(timeToLimit, flat(7200)), one(headroom, flat(left)), one(uptime, "36000+60x400"))
	}
	return []Scenario{
		{Name: "goroutines wait 15 ms", At: "30m",
			Series: together(scheduler("a", 0.02), cpu("a", 0.8)),
			Fires:  []string{"GoSchedulerLatencyHigh"}, Silent: []string{"GoSchedulerLatencyCritical", "GoCPUSaturated"}},
		{Name: "goroutines wait 150 ms", At: "30m",
			Series: together(scheduler("a", 0.2), cpu("a", 0.97)),
			Fires:  []string{"GoSchedulerLatencyHigh", "GoSchedulerLatencyCritical", "GoCPUSaturated"}},
		{Name: "goroutines of an idle process wait", At: "30m",
			Series: together(scheduler("a", 0.2), cpu("a", 0.01)),
			Silent: []string{"GoSchedulerLatencyHigh", "GoSchedulerLatencyCritical"}},
		{Name: "a throttled process uses little CPU and its requests wait", At: "30m",
			Series: together(scheduler("a", 0.2), cpu("a", 0.03), throttled, route("a", "/pay", "200", 60, 0.5)),
			Fires:  []string{"GoSchedulerLatencyCritical", "CPUThrottledHurting"}},
		{Name: "throttled without effect", At: "60m",
			Series: together(scheduler("a", 0.001), cpu("a", 0.3), throttled),
			Fires:  []string{"CPUThrottled"}, Silent: []string{"CPUThrottledHurting"}},
		{Name: "throttled a little", At: "60m",
			Series: together(scheduler("a", 0.02), cpu("a", 0.3), one(periods, steady(600)), one(throttledPeriods, steady(60))),
			Silent: []string{"CPUThrottled", "CPUThrottledHurting"}},
		{Name: "two goroutines for each processor wait for a lock", At: "30m",
			Series: together(one(mutexWait, steady(240)), cpu("a", 0.5)),
			Fires:  []string{"GoMutexContentionHigh"}},
		{Name: "some waiting for locks", At: "30m",
			Series: together(one(mutexWait, steady(12)), cpu("a", 0.5)),
			Silent: []string{"GoMutexContentionHigh"}},
		{Name: "the collector takes a third", At: "30m",
			Series: together(collector("a", 0.33), cpu("a", 0.5), memory("a", 5e8, 1e9)),
			Fires:  []string{"GoGCCPUHigh"}, Silent: []string{"GoGCDeathSpiral", "GoMemoryNearLimit"}},
		{Name: "the collector of an idle process takes a third", At: "30m",
			Series: together(collector("a", 0.33), cpu("a", 0.02)),
			Silent: []string{"GoGCCPUHigh"}},
		{Name: "the collector takes half, at the memory limit", At: "30m",
			Series: together(collector("a", 0.5), cpu("a", 0.9), memory("a", 9.8e8, 1e9)),
			Fires:  []string{"GoGCCPUHigh", "GoGCDeathSpiral", "GoMemoryNearLimit"}},
		{Name: "much memory and no limit", At: "30m",
			Series: memory("a", 9.8e9, 0),
			Silent: []string{"GoMemoryNearLimit", "GoGCDeathSpiral"}},
		{Name: "no limit, written as the largest integer", At: "30m",
			Series: memory("a", 9.8e9, 9.223372036854775807e18),
			Silent: []string{"GoMemoryNearLimit"}},
		{Name: "the container is 93 % full", At: "30m",
			Series: container(9.3e8),
			Fires:  []string{"ContainerMemoryNearLimit"}, Silent: []string{"ContainerOOMImminent"}},
		{Name: "the container is 99 % full", At: "30m",
			Series: container(9.9e8),
			Fires:  []string{"ContainerMemoryNearLimit", "ContainerOOMImminent"}},
		{Name: "the container has no limit", At: "30m",
			Series: one(containerWorkingSet, flat(9.9e9)),
			Silent: []string{"ContainerMemoryNearLimit", "ContainerOOMImminent"}},
		{Name: "the kernel kills", At: "32m",
			Series: one(oomKills, "0x29 1x100"),
			Fires:  []string{"ContainerOOMKilled"}},
		{Name: "the kernel killed yesterday", At: "90m",
			Series: one(oomKills, flat(1)),
			Silent: []string{"ContainerOOMKilled"}},
		{Name: "memory is full in two hours", At: "60m",
			Series: shrinking(0.3),
			Fires:  []string{"MemoryExhaustionPredicted"}},
		{Name: "memory grows and there is plenty", At: "60m",
			Series: shrinking(0.8),
			Silent: []string{"MemoryExhaustionPredicted"}},
		{Name: "the memory floor doubles in three hours", At: "330m",
			Series: together(one(memoryUsed, "100000000+700000x400", `go_memory_type="other"`), one(uptime, "36000+60x400")),
			Fires:  []string{"GoHeapLeakSuspected"}},
		{Name: "memory follows the traffic", At: "330m",
			Series: together(one(memoryUsed, "100000000+700000x400", `go_memory_type="other"`), one(uptime, "36000+60x400"),
				one(serverRequests+"_count", rising(60, 3), `http_request_method="GET"`, `http_route="/pay"`, `http_response_status_code="200"`)),
			Silent: []string{"GoHeapLeakSuspected"}},
		{Name: "goroutines double in three hours", At: "330m",
			Series: together(one(goroutines, "600+20x400"), one(uptime, "36000+60x400")),
			Fires:  []string{"GoGoroutineLeakSuspected"}},
		{Name: "goroutines double after a start", At: "330m",
			Series: together(one(goroutines, "1200+12x160 3200x240"), one(uptime, "0+60x400")),
			Silent: []string{"GoGoroutineLeakSuspected"}},
		{Name: "file descriptors 85 % used", At: "30m",
			Series: descriptors(850),
			Fires:  []string{"FileDescriptorsRunningOut"}, Silent: []string{"FileDescriptorsExhausted"}},
		{Name: "file descriptors 97 % used", At: "30m",
			Series: descriptors(970),
			Fires:  []string{"FileDescriptorsRunningOut", "FileDescriptorsExhausted"}},
		{Name: "file descriptors 30 % used", At: "30m",
			Series: descriptors(300),
			Silent: []string{"FileDescriptorsRunningOut", "FileDescriptorsExhausted"}},
		{Name: "a restart every five minutes", At: "40m",
			Series: together(one(uptime, strings.Repeat("10+60x4 ", 10)), one(buildInfo, flat(1))),
			Fires:  []string{"ProcessRestartingOften"}},
		{Name: "one restart", At: "40m",
			Series: together(one(uptime, "10+60x20 10+60x40"), one(buildInfo, flat(1))),
			Silent: []string{"ProcessRestartingOften"}},
	}
}

// rising is a counter whose rate grows evenly to n times perMinute in 400 minutes.
func rising(perMinute, n float64) string {
	var b strings.Builder
	total := 0.0
	for i := range 400 {
		fmt.Fprintf(&b, "%.0f ", total)
		total += perMinute * (1 + (n-1)*float64(i)/400)
	}
	return strings.TrimSpace(b.String())
}

func dependencyScenarios() []Scenario {
	bounds := []float64{0.1, 0.5, 1, 2.5}
	const host = `server_address="pay.example.com", server_port="443"`
	http := func(errorType string, n, le float64) []Input {
		return classic(clientRequests, instanceOf("a")+fmt.Sprintf(`, server_address="pay.example.com", server_port="443", error_type=%q`, errorType), n, le, bounds...)
	}
	db := func(errorType string, n, le float64) []Input {
		return classic(dbOperations, instanceOf("a")+fmt.Sprintf(`, db_system_name="postgresql", db_namespace="orders", db_operation_name="SELECT", db_collection_name="orders", db_query_summary="SELECT orders", error_type=%q`, errorType), n, le, bounds...)
	}
	call := func(errorType string, n, le float64) []Input {
		return classic(calls, instanceOf("a")+fmt.Sprintf(`, dependency="redis", operation="get", error_type=%q`, errorType), n, le, bounds...)
	}
	rpc := func(errorType string, n, le float64) []Input {
		return classic(rpcCalls, instanceOf("a")+fmt.Sprintf(`, rpc_system_name="grpc", server_address="stock", rpc_method="Stock/Get", error_type=%q`, errorType), n, le, bounds...)
	}
	message := func(errorType string, n, le float64) []Input {
		return classic(messageCalls, instanceOf("a")+fmt.Sprintf(`, messaging_system="kafka", messaging_destination_name="orders", messaging_operation_name="send", error_type=%q`, errorType), n, le, bounds...)
	}
	pool := func(waiting float64) []Input {
		name := `db_client_connection_pool_name="orders"`
		return together(one(dbConnections, flat(10), name, `db_client_connection_state="used"`), one(dbConnections, flat(0), name, `db_client_connection_state="idle"`),
			one(dbMax, flat(10), name), one(dbWaitSeconds, steady(waiting*60), name))
	}
	return []Scenario{
		{Name: "a third of the calls over HTTP fails", At: "30m",
			Series: together(http("", 40, 0.1), http("timeout", 20, 0.1)),
			Fires:  []string{"DependencyErrorsHigh"}},
		{Name: "a fifth of the requests are retries", At: "30m",
			Series: together(http("", 100, 0.1), one(clientRetries, steady(20), host, `error_type="503"`)),
			Fires:  []string{"HTTPRetryStorm"}},
		{Name: "a twentieth of the requests are retries", At: "30m",
			Series: together(http("", 100, 0.1), one(clientRetries, steady(5), host, `error_type="503"`)),
			Silent: []string{"HTTPRetryStorm"}},
		{Name: "half of few requests are retries", At: "30m",
			Series: together(http("", 2, 0.1), one(clientRetries, steady(1), host, `error_type="503"`)),
			Silent: []string{"HTTPRetryStorm"}},
		{Name: "a body a minute is left open", At: "90m",
			Series: one(unclosedBodies, "0x5 "+steady(1), host, `url_template="/prices/{id}"`),
			Fires:  []string{"HTTPBodiesLeftOpen"}},
		{Name: "a few bodies were left open", At: "90m",
			Series: one(unclosedBodies, "0x30 "+flat(5), host, `url_template="/prices/{id}"`),
			Silent: []string{"HTTPBodiesLeftOpen"}},
		{Name: "a third of the database's operations fails", At: "30m",
			Series: together(db("", 40, 0.1), db("40001", 20, 0.1)),
			Fires:  []string{"DependencyErrorsHigh"}},
		{Name: "a third of the other calls fails", At: "30m",
			Series: together(call("", 40, 0.1), call("timeout", 20, 0.1)),
			Fires:  []string{"DependencyErrorsHigh"}},
		{Name: "a third of the remote procedures fails", At: "30m",
			Series: together(rpc("", 40, 0.1), rpc("UNAVAILABLE", 20, 0.1)),
			Fires:  []string{"DependencyErrorsHigh"}},
		{Name: "a third of the messages cannot be sent", At: "30m",
			Series: together(message("", 40, 0.1), message("timeout", 20, 0.1)),
			Fires:  []string{"DependencyErrorsHigh"}},
		{Name: "both calls of ten minutes fail", At: "30m",
			Series: http("timeout", 0.2, 0.1),
			Silent: []string{"DependencyErrorsHigh"}},
		{Name: "the other side knows no such thing", At: "30m",
			Series: together(http("", 40, 0.1), http("404", 20, 0.1)),
			Silent: []string{"DependencyErrorsHigh"}},
		{Name: "the other side says too many requests", At: "30m",
			Series: together(http("", 40, 0.1), http("429", 20, 0.1)),
			Fires:  []string{"DependencyErrorsHigh"}},
		{Name: "calls over HTTP take two seconds", At: "30m",
			Series: http("", 60, 2.5),
			Fires:  []string{"DependencyLatencyHigh"}},
		{Name: "the database takes 0.9 seconds", At: "30m",
			Series: db("", 60, 1),
			Fires:  []string{"DependencyLatencyHigh"}},
		{Name: "calls over HTTP take 0.9 seconds", At: "30m",
			Series: http("", 60, 1),
			Silent: []string{"DependencyLatencyHigh"}},
		{Name: "one slow query a minute", At: "30m",
			Series: db("", 1, 2.5),
			Silent: []string{"DependencyLatencyHigh"}},
		{Name: "a full pool and four goroutines wait for it", At: "30m",
			Series: pool(4),
			Fires:  []string{"DBPoolSaturated"}},
		{Name: "a full pool and nobody waits", At: "30m",
			Series: pool(0),
			Silent: []string{"DBPoolSaturated"}},
		{Name: "connections cannot be opened in time", At: "30m",
			Series: one(dbTimeouts, "0x20 0+1x380", `db_client_connection_pool_name="orders"`),
			Fires:  []string{"DBConnectionTimeouts"}},
		{Name: "the first connections of all cannot be opened in time", At: "30m",
			Series: one(dbTimeouts, "_x25 4x375", `db_client_connection_pool_name="orders"`),
			Fires:  []string{"DBConnectionTimeouts"}},
		{Name: "a connection could not be opened in time, and the next was", At: "30m",
			Series: one(dbTimeouts, "0x25 1x375", `db_client_connection_pool_name="orders"`),
			Silent: []string{"DBConnectionTimeouts"}},
		{Name: "rows are left open", At: "30m",
			Series: one(dbUnclosed, flat(1), `db_client_connection_pool_name="orders"`, `kind="rows"`),
			Fires:  []string{"DBConnectionsLeftOpen"}},
		{Name: "a transaction waits for a person and goes on", At: "30m",
			Series: one(dbUnclosed, "0x25 1x2 0x370", `db_client_connection_pool_name="orders"`, `kind="transaction"`),
			Silent: []string{"DBConnectionsLeftOpen"}},
	}
}

func availabilityScenarios() []Scenario {
	dies := func(instance string) []Input {
		return []Input{
			{up + "{" + instanceOf(instance) + "}", "1x20 0x380"},
			{buildInfo + "{" + instanceOf(instance) + `, service_version="1"}`, "1x20 _x380"},
		}
	}
	check := func(values string) []Input { return one(checkUp, values, `check="db"`) }
	return []Scenario{
		{Name: "one of two instances dies", At: "30m",
			Series: together(dies("a"), alive("b", "1")),
			Fires:  []string{"TargetDown"}, Silent: []string{"ServiceDown", "ServiceVanished"}},
		{Name: "all instances die", At: "30m",
			Series: together(dies("a"), dies("b")),
			Fires:  []string{"TargetDown", "ServiceDown"}},
		{Name: "one scrape fails", At: "22m",
			Series: together([]Input{{up + "{" + instanceOf("a") + "}", "1x20 0 1x300"}}, one(buildInfo, flat(1))),
			Silent: []string{"TargetDown", "ServiceDown"}},
		{Name: "somebody else's target dies", At: "30m",
			Series: one(up, "1x20 0x100"),
			Silent: []string{"TargetDown", "ServiceDown", "ServiceVanished"}},
		{Name: "a service is deleted", At: "80m",
			Series: []Input{
				{up + "{" + instanceOf("a") + "}", "1x40 _x360"},
				{buildInfo + "{" + instanceOf("a") + `, service_version="1"}`, "1x40 _x360"},
			},
			Fires: []string{"ServiceVanished"}},
		{Name: "a readiness check fails", At: "30m",
			Series: check("1x15 0x100"),
			Fires:  []string{"ReadinessCheckFailing"}},
		{Name: "a readiness check flaps", At: "30m",
			Series: check(strings.Repeat("1 0 ", 50)),
			Silent: []string{"ReadinessCheckFailing"}},
		{Name: "one of four instances fails", At: "30m",
			Series: together(route("a", "/pay", "200", 60, 0.1), route("b", "/pay", "200", 60, 0.1), route("c", "/pay", "200", 60, 0.1), route("d", "/pay", "200", 40, 0.1), route("d", "/pay", "500", 20, 0.1)),
			Fires:  []string{"ReplicaOutlier"}},
		{Name: "all instances fail alike", At: "30m",
			Series: together(route("a", "/pay", "200", 40, 0.1), route("a", "/pay", "500", 20, 0.1), route("b", "/pay", "200", 40, 0.1), route("b", "/pay", "500", 20, 0.1), route("c", "/pay", "200", 40, 0.1), route("c", "/pay", "500", 20, 0.1)),
			Silent: []string{"ReplicaOutlier"}},
		{Name: "two versions for three hours", At: "180m",
			Series: together(alive("a", "1"), alive("b", "2")),
			Fires:  []string{"VersionSkew"}},
		{Name: "two versions during a rollout", At: "60m",
			Series: together(alive("a", "1"), alive("b", "2")),
			Silent: []string{"VersionSkew"}},
	}
}

func telemetryScenarios() []Scenario {
	lost := []string{`signal="traces"`, `reason="queue_full"`}
	over := []string{`metric="` + serverRequests + `"`, `label="http_route"`}
	return []Scenario{
		{Name: "spans are dropped", At: "30m",
			Series: one(dropped, steady(60), lost...),
			Fires:  []string{"TelemetryLost"}},
		{Name: "three spans were dropped", At: "30m",
			Series: one(dropped, "0x20 3x100", lost...),
			Silent: []string{"TelemetryLost"}},
		{Name: "a label has too many values", At: "30m",
			Series: one(overflow, "_x20 5+5x100", over...),
			Fires:  []string{"TelemetrySeriesOverflow"}},
		{Name: "a label had too many values, yesterday", At: "60m",
			Series: one(overflow, flat(500), over...),
			Silent: []string{"TelemetrySeriesOverflow"}},
		{Name: "the queue of spans is nearly full", At: "30m",
			Series: together(one(spanQueue, flat(1900), `otel_component_name="batch"`), one(spanQueueMax, flat(2048), `otel_component_name="batch"`)),
			Fires:  []string{"TelemetryQueueNearFull"}},
		{Name: "the queue of spans is half full", At: "30m",
			Series: together(one(spanQueue, flat(1000), `otel_component_name="batch"`), one(spanQueueMax, flat(2048), `otel_component_name="batch"`)),
			Silent: []string{"TelemetryQueueNearFull"}},
		{Name: "a scrape takes seven seconds", At: "60m",
			Series: together(one(scrapeTime, flat(7)), one(buildInfo, flat(1))),
			Fires:  []string{"ScrapeNearlyTooSlow"}},
		{Name: "somebody else's scrape takes seven seconds", At: "60m",
			Series: one(scrapeTime, flat(7)),
			Silent: []string{"ScrapeNearlyTooSlow"}},
	}
}

// daysAt is when scenarios of days are looked at: after a week and two hours, in
// ticks of a quarter.
const daysAt = "10200m"

// dayScenarios feed the recorded series, a quarter of an hour apart: a week of minutes
// would take minutes to compute.
func dayScenarios() []Scenario {
	week := func(usual, now float64) string { return fmt.Sprintf("%gx672 %gx20", usual, now) }
	traffic := func(usual, now float64) []Input {
		return []Input{{jobRequests + `{job="shop"}`, week(usual, now)}}
	}
	slow := func(usual, now float64) []Input {
		labels := `{job="shop", http_request_method="GET", http_route="/pay"}`
		return []Input{{routeP95 + labels, week(usual, now)}, {routeRequests + labels, week(10, 10)}}
	}
	return []Scenario{
		{Name: "traffic falls to a tenth", At: daysAt, Days: true, Series: traffic(50, 5),
			Fires: []string{"HTTPTrafficDropped"}, Silent: []string{"HTTPTrafficSurge"}},
		{Name: "traffic is as usual", At: daysAt, Days: true, Series: traffic(50, 45),
			Silent: []string{"HTTPTrafficDropped", "HTTPTrafficSurge"}},
		{Name: "five times the traffic", At: daysAt, Days: true, Series: traffic(50, 250),
			Fires: []string{"HTTPTrafficSurge"}, Silent: []string{"HTTPTrafficDropped"}},
		{Name: "a service that is hardly used falls silent", At: daysAt, Days: true, Series: traffic(0.5, 0),
			Silent: []string{"HTTPTrafficDropped"}},
		{Name: "a route is three times as slow as last week", At: daysAt, Days: true, Series: slow(0.2, 0.6),
			Fires: []string{"HTTPRouteLatencyRegressed"}},
		{Name: "a fast route is three times as slow as last week", At: daysAt, Days: true, Series: slow(0.01, 0.03),
			Silent: []string{"HTTPRouteLatencyRegressed"}},
	}
}

func nativeScenarios() []Scenario {
	labels := instanceOf("a") + `, http_request_method="GET", http_route="/pay", http_response_status_code=`
	return []Scenario{
		{Name: "native histograms alone: slow and half of it fails", At: "30m", Native: true,
			Series: together(native(serverRequests, labels+`"200"`, 60), native(serverRequests, labels+`"500"`, 60),
				native(schedWait, instanceOf("a"), 6000), cpu("a", 0.8),
				native(calls, instanceOf("a")+`, dependency="redis", operation="get", error_type="timeout"`, 60)),
			Fires: []string{"HTTPRouteErrorsCritical", "HTTPRouteLatencyP99High", "GoSchedulerLatencyCritical", "DependencyErrorsHigh", "DependencyLatencyHigh"}},
		// Six failures in five minutes on each side; added up they would be twelve,
		// and ten are enough.
		{Name: "native and classic histograms of the same few failures", At: "30m", Native: true,
			Series: together(native(serverRequests, labels+`"500"`, 1.2), classic(serverRequests, labels+`"500"`, 1.2, 2.5, requestBounds...)),
			Silent: []string{"HTTPRouteErrorsHigh", "HTTPRouteErrorsCritical", "HTTPRouteLatencyP99High"}},
		{Name: "native and classic histograms of the same slow requests", At: "30m", Native: true,
			Series: together(native(serverRequests, labels+`"200"`, 60), classic(serverRequests, labels+`"200"`, 60, 2.5, requestBounds...)),
			Fires:  []string{"HTTPRouteLatencyP99High"}, Silent: []string{"HTTPRouteErrorsHigh"}},
	}
}
