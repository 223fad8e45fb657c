// Package plan says what the dashboards show and when the alerts speak: titles,
// queries, thresholds and advice as plain Go values, from which the generator
// writes Grafana's JSON, Prometheus' rules, runbooks and Kubernetes objects.
//
// Nothing here knows a file format, and nothing here imports the library: a
// test compares every metric and label in every query with observe.All().
//
// # Rules of the house
//
// A histogram is asked only through count, total, quantile, share and heat:
// each works for classic buckets, for native histograms and for a scrape that
// carries both. Errors are filled with zero, so that a panel shows 0 % and not
// a gap. A threshold stands once, in Config; the panel's line and the alert's
// condition are the same number.
package plan

import "time"

// A Dashboard is one page.
type Dashboard struct {
	UID         string
	Title       string
	Description string
	Route       bool // offers a choice of routes
	Rows        []Row
}

// A Row is a heading and the panels under it.
type Row struct {
	Title     string
	Collapsed bool // closed at first: a subsystem that not every service has
	Panels    []Panel
}

// A Kind is how a panel draws.
type Kind string

// The kinds of panels.
const (
	Stat     Kind = "stat"
	Series   Kind = "timeseries"
	Table    Kind = "table"
	Heatmap  Kind = "heatmap"
	Timeline Kind = "state-timeline"
	Alerts   Kind = "alertlist"
	Text     Kind = "text"
)

// A Panel answers one question.
type Panel struct {
	Title       string
	Description string // what it shows and what to do about it; of a Text, its content
	Kind        Kind
	Unit        string // Grafana's name: "s", "reqps", "percentunit", "bytes", "short"
	Width       int    // of 24
	Height      int
	Warn, Page  float64 // where orange and red begin; both zero means no thresholds
	LowIsBad    bool    // red is below Page instead of above it
	Log         bool    // logarithmic axis
	Stack       bool
	Exemplars   bool   // the first query also asks for exemplars
	Drill       string // UID of the page with more, opened with the same time and variables
	SortBy      string // of a Table: the column that is sorted, largest first
	Queries     []Query
}

// A Query is one expression and how its series are called.
type Query struct {
	Expr   string
	Legend string // Grafana's template: "{{http_route}}"; of a Table, the heading of the column

	// The rest is for columns of a Table.
	Unit       string
	Warn, Page float64
}

// A Group of rules is evaluated together, in order.
type Group struct {
	Name    string
	SLO     bool          // in a file of its own, for those whose Prometheus keeps the days of the objective
	Every   time.Duration // how often it is evaluated; zero is Config.Interval
	Records []Record
	Alerts  []Alert
}

// A Record is an expression whose result is kept under a name of its own.
type Record struct {
	Name   string
	Expr   string
	Labels map[string]string
}

// A Severity says what a human does.
type Severity string

// The severities.
const (
	Page   Severity = "critical" // now, at night as well
	Ticket Severity = "warning"  // in working hours
	Info   Severity = "info"     // nothing: context beside another alert
	None   Severity = "none"     // never shown: it watches the path of alerts itself
)

// An Alert is a condition that somebody should know about.
type Alert struct {
	Name        string
	Severity    Severity
	Category    string // what is affected: slo, errors, latency, saturation, availability, dependency, leak, traffic, telemetry, change, diagnosis
	Expr        string
	For         string // how long before it fires
	Keep        string // how long it goes on after the condition ended
	Summary     string // one line with the number
	Description string // what, since when, why it matters
	Advice      string // the runbook's text: what to look at, what to do
	Dashboard   string // UID of the page to open
	Vars        []string
}

// A Scenario is a stretch of invented time, and which alerts it must and must
// not raise.
type Scenario struct {
	Name   string
	Series []Input
	At     string // when the alerts are looked at
	Fires  []string
	Silent []string
	Told   []Notice // what those that fire say, to the letter
	Quiet  bool     // nothing fires at all
	Days   bool     // a tick is fifteen minutes
	Native bool     // feeds native histograms, which promtool reads since 2.47
}

// A Notice is what a receiver reads of one alert.
type Notice struct {
	Alert           string
	Labels          map[string]string // beside the rule's own
	Summary, Doctor string
}

// An Input is a series in promtool's notation.
type Input struct{ Series, Values string }
