package plan

import (
	"fmt"
	"strings"
)

// A scope is which series are asked, over which stretch of time.
type scope struct {
	match  string // label matchers, without braces
	window string // of rate: "5m", "$__rate_interval"
	offset string // "1d"; empty is now
}

// onPanel is what a panel asks: the chosen services, over the time that
// Grafana thinks fit for the resolution.
var onPanel = scope{match: `cluster=~"$cluster", namespace=~"$namespace", job=~"$job", instance=~"$instance"`, window: "$__rate_interval"}

// inRule is what a rule asks: everything, over five minutes, which holds ten
// evaluations and at least five scrapes of the slowest usual interval.
var inRule = scope{window: "5m"}

// where adds matchers.
func (s scope) where(match string) scope {
	if s.match != "" {
		match = s.match + ", " + match
	}
	s.match = match
	return s
}

// ago looks back in time.
func (s scope) ago(offset string) scope {
	s.offset = offset
	return s
}

// over looks at a longer or shorter stretch.
func (s scope) over(window string) scope {
	s.window = window
	return s
}

// now is the instant vector of a metric.
func (s scope) now(metric string) string {
	return metric + s.braces() + s.suffix()
}

// rate is the growth of a counter a second.
func (s scope) rate(metric string) string {
	return "rate(" + metric + s.braces() + "[" + s.window + "]" + s.suffix() + ")"
}

func (s scope) braces() string {
	if s.match == "" {
		return ""
	}
	return "{" + s.match + "}"
}

func (s scope) suffix() string {
	if s.offset == "" {
		return ""
	}
	return " offset " + s.offset
}

// aggregate is "op by (labels) (expr)".
func aggregate(op, expr string, by ...string) string {
	if len(by) == 0 {
		return op + "(" + expr + ")"
	}
	return op + " by (" + strings.Join(by, ", ") + ") (" + expr + ")"
}

func sum(expr string, by ...string) string   { return aggregate("sum", expr, by...) }
func most(expr string, by ...string) string  { return aggregate("max", expr, by...) }
func least(expr string, by ...string) string { return aggregate("min", expr, by...) }
func group(expr string, by ...string) string { return aggregate("group", expr, by...) }

// The five questions to a histogram. Each is "native or classic": the side
// that a scrape does not carry is empty and costs next to nothing. A rule
// written for one side alone goes silent when the scrape changes.

// count is how many observations a second.
func (s scope) count(metric string, by ...string) string {
	return "(histogram_count(" + sum(s.rate(metric), by...) + ") or " + sum(s.rate(metric+"_count"), by...) + ")"
}

// total is the sum of the observed values a second.
func (s scope) total(metric string, by ...string) string {
	return "(histogram_sum(" + sum(s.rate(metric), by...) + ") or " + sum(s.rate(metric+"_sum"), by...) + ")"
}

// quantile is the value below which the share q of the observations lies.
func (s scope) quantile(q float64, metric string, by ...string) string {
	le := append([]string{"le"}, by...)
	return fmt.Sprintf("(histogram_quantile(%g, %s) or histogram_quantile(%g, %s))",
		q, sum(s.rate(metric), by...), q, sum(s.rate(metric+"_bucket"), le...))
}

// share is the share of the observations that match bad, zero where none does.
func (s scope) share(metric, bad string, by ...string) string {
	all := s.count(metric, by...)
	return "(" + s.where(bad).count(metric, by...) + " or 0 * " + all + ") / (" + all + " > 0)"
}

// heat is the histogram itself. Classic comes first: Grafana 10.0 draws a
// native histogram wrongly where both exist.
func (s scope) heat(metric string) string {
	return sum(s.rate(metric+"_bucket"), "le") + " or (" + sum(s.rate(metric)) + " unless on () group(" + s.now(metric+"_bucket") + "))"
}

// ratio divides and leaves out where there is nothing to divide by.
func ratio(part, whole string) string { return part + " / (" + whole + " > 0)" }

// born is what a counter grew by in the window, or its value where the series
// is younger than that: a counter that is born at 1 has no increase.
func born(metric, window string, above float64, by ...string) string {
	return fmt.Sprintf("%s > %g\nor %s > %g",
		sum("increase("+metric+"["+window+"])", by...), above,
		sum(metric+" unless "+metric+" offset "+window, by...), above)
}
