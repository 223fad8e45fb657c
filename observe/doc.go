// Package observe makes a Go service tell how it is: which route is slow or
// failing, what the runtime does, and how the services and databases behind it
// answer.
//
//	tel, err := observe.Start(ctx, observe.Config{Service: "shop"})
//	if err != nil { return err }
//	slog.SetDefault(slog.New(tel.LogHandler(slog.NewJSONHandler(os.Stderr, nil))))
//	db := tel.OpenDB(connector, "orders")
//	client := &http.Client{Transport: tel.Transport(nil)}
//	return tel.Serve(ctx, &http.Server{Addr: ":8080", Handler: tel.Handler(mux)})
//
// # What it gives
//
// Start opens an admin address, http://localhost:9464 by default, with metrics
// for Prometheus, health and profiles. Traces go where the standard
// OpenTelemetry variables say (OTEL_EXPORTER_OTLP_ENDPOINT, ...), and nowhere
// without them. [All] is the table of every metric.
//
// # Failure
//
// A Config that cannot work is told by Start, and nothing is started. After
// Start no call returns an error of Loadline's own and no request waits for
// telemetry: a dead collector, a scraper that never comes, a client that sends
// a million paths cost a bounded amount of memory, and what is lost is counted
// in observe_dropped_total and observe_series_overflow_total. A nil *Telemetry
// is off: everything works and does nothing.
//
// # Concurrency
//
// Everything may be called concurrently. Start runs two goroutines: the
// sampler of the runtime and the admin listener; each exporter that is
// configured adds one.
//
// # Cost
//
// The README has a table of what a request, a query and a log record cost,
// beside the libraries this one replaces; internal/benchmarks prints it.
package observe
