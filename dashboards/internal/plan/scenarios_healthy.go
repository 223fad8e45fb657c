package plan

import "fmt"

// healthyScenarios are services that have nothing to complain of, each odd in
// one way: no alert at all may fire.
func healthyScenarios() []Scenario {
	// What every program has: the runtime, but no limits.
	bare := func(instance string) []Input {
		return together(alive(instance, "1"), scheduler(instance, 0.001), cpu(instance, 0.3), collector(instance, 0.05), memory(instance, 5e8, 0),
			[]Input{{goroutines + "{" + instanceOf(instance) + "}", flat(60)}, {mutexWait + "{" + instanceOf(instance) + "}", steady(1)}})
	}
	limited := together(one(containerWorkingSet, flat(6e8)), one(containerMemoryLimit, flat(1e9)), one(headroom, flat(0.4)),
		one(openFDs, flat(100)), one(maxFDs, flat(1024)), one(periods, steady(600)), one(throttledPeriods, steady(6)))
	fast := func(n float64) string { // n observations of 31 to 62 ms, as in native
		return fmt.Sprintf("{{schema:0 sum:%g count:%g offset:-4 buckets:[%g]}}", n*0.05, n, n)
	}
	return []Scenario{
		{Name: "a healthy service with limits and three instances", At: "60m", Quiet: true,
			Series: together(bare("a"), bare("b"), bare("c"), limited, route("a", "/pay", "200", 600, 0.1), route("b", "/pay", "200", 600, 0.1), route("c", "/pay", "200", 540, 0.1),
				route("a", "/pay", "500", 0.2, 0.1), route("b", "/pay", "404", 60, 0.1), declared("pay", "0.99", 600, 0.2))},
		{Name: "a service that serves HTTP and nothing else, without a limit", At: "60m", Quiet: true,
			Series: together(bare("a"), route("a", "/", "200", 60, 0.1))},
		{Name: "a worker that serves nothing", At: "60m", Quiet: true,
			Series: bare("a")},
		{Name: `a service called "the shop", that's it \\o/`, At: "60m", Quiet: true,
			Series: together(bare("a"), route("a", "/", "200", 60, 0.1))},
		{Name: `a service called "the shop" fails`, At: "30m",
			Series: together(route("a", "/", "500", 60, 0.1)), Fires: []string{"HTTPRouteErrorsCritical"}},
		{Name: "a service that was just started", At: "13m", Quiet: true,
			Series: []Input{
				{up + "{" + instanceOf("a") + "}", "_x10 1x20"},
				{buildInfo + "{" + instanceOf("a") + `, service_version="1"}`, "_x10 1x20"},
				{uptime + "{" + instanceOf("a") + "}", "_x10 5+60x20"},
				{memoryUsed + "{" + instanceOf("a") + `, go_memory_type="other"}`, "_x10 5e7+1e7x20"},
				{goroutines + "{" + instanceOf("a") + "}", "_x10 10+200x20"},
				{serverRequests + "_count{" + instanceOf("a") + `, http_request_method="GET", http_route="/", http_response_status_code="200"}`, "_x10 1+60x20"},
			}},
		{Name: "one request an hour, each slow", At: "390m", Quiet: true,
			Series: together(bare("a"), route("a", "/report", "200", 1.0/60, 2.5))},
		{Name: "one request an hour, kept as the service promised", At: "390m", Quiet: true,
			Series: together(bare("a"), route("a", "/report", "200", 1.0/60, 2.5), declared("report", "0.999", 1.0/60, 0))},
		{Name: "a healthy service, native histograms alone", At: "30m", Native: true, Quiet: true,
			Series: together(alive("a", "1"), cpu("a", 0.3), collector("a", 0.05), memory("a", 5e8, 1e9),
				[]Input{{serverRequests + "{" + instanceOf("a") + `, http_request_method="GET", http_route="/pay", http_response_status_code="200"}`, fast(0) + "+" + fast(600) + "x100"}})},
	}
}
