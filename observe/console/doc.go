// Package console keeps the last minutes of a service in memory and shows them
// on one page: which route is slow and where its time goes, what the runtime
// does, what the services and databases behind it answer.
//
//	c := console.New(console.Config{Service: "shop"})
//	c.Sample(sample)                    // at each sample of the runtime
//	c.Diagnosed(window, report, still)  // at each diagnosis
//	mux.Handle("GET /debug/console/", c.Handler())
//
// Package observe does all of that; a program has no use for this package.
//
// # Memory
//
// Figures are kept in rings of fixed size: a time of Keep in 180 points, and
// histograms of full resolution in 15 slots. 500 routes that are all busy take
// less than 8 MB (TestMemory). The routes beyond MaxRoutes are shown as one,
// [MoreRoutes].
//
// # Cost
//
// A sample adds up what was counted since the last: of 500 routes in a
// millisecond (BenchmarkSample), 0.03 % of a core. While a page is open each
// sample is written as JSON once, for all pages with the same time range, and
// pushed to them as a server-sent event: 0.05 % of a core for one page, 0.3 %
// for two hundred (TestConsoleOpenPages in internal/e2e). A page that does not read for five
// seconds is cut off and connects again by itself; the stream takes up to 256
// pages.
//
// # Concurrency
//
// All methods may be called concurrently.
package console
