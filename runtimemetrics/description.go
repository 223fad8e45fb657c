package runtimemetrics

// Kind says how a metric's value behaves over time.
type Kind string

const (
	Counter   Kind = "counter"   // only grows; a restart sets it to zero
	Gauge     Kind = "gauge"     // goes up and down
	Histogram Kind = "histogram" // classic buckets and a native histogram at once
)

// A Description is everything there is to know about one metric before it has
// a value. Instruments, documentation, dashboards, alerts and tests are made
// from descriptions, so a name is written down once.
type Description struct {
	Name    string    // Prometheus name, "go_schedule_duration_seconds"
	OTel    string    // name in the OpenTelemetry semantic conventions; empty where they have none
	Kind    Kind      //
	Unit    string    // UCUM: "s", "By", "1", "{request}"
	Help    string    // one sentence that ends with a full stop
	Labels  []string  // label names, in the order in which an instrument takes their values
	Buckets []float64 // upper bounds of the classic buckets, ascending, without +Inf; histograms only
}
