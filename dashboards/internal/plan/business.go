package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Metric is one that a program defined for itself, as its /debug/metrics/table
// tells.
type Metric struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"` // counter, gauge or histogram
	Unit   string   `json:"unit"` // UCUM, and what UCUM does not know in braces: "{euros}"
	Help   string   `json:"help"`
	Labels []string `json:"labels"`
}

var promName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// validate returns an error where the metric would break a query.
func (m Metric) validate() error {
	for _, name := range append([]string{m.Name}, m.Labels...) {
		if !promName.MatchString(name) {
			return fmt.Errorf("Config.Business: %q: %q is no name of a metric or label", m.Name, name)
		}
	}
	if !slices.Contains([]string{"counter", "gauge", "histogram"}, m.Kind) {
		return fmt.Errorf("Config.Business: %s: kind %q: want counter, gauge or histogram", m.Name, m.Kind)
	}
	return nil
}

// grafanaUnits are Grafana's names of the units that it knows.
var grafanaUnits = map[string]string{
	"s": "s", "By": "bytes", "1": "percentunit", "Cel": "celsius", "m": "lengthm", "g": "massg", "J": "joule", "V": "volt", "A": "amp",
	"{euros}": "currencyEUR", "{dollars}": "currencyUSD", "{usd}": "currencyUSD", "{pounds}": "currencyGBP", "{yen}": "currencyJPY",
	"{francs}": "currencyCHF", "{kronor}": "currencySEK", "{rupees}": "currencyINR",
}

func (m Metric) unit() string {
	if u := grafanaUnits[m.Unit]; u != "" {
		return u
	}
	return "short"
}

// legend is the values of the labels, or the name.
func (m Metric) legend(suffix string) string {
	if len(m.Labels) == 0 {
		return strings.TrimSpace(m.Name + " " + suffix)
	}
	values := make([]string, len(m.Labels))
	for i, l := range m.Labels {
		values[i] = "{{" + l + "}}"
	}
	return strings.TrimSpace(strings.Join(values, " ") + " " + suffix)
}

// help is the sentence of the program, made one where it is none.
func (m Metric) help() string {
	if h := strings.TrimSpace(m.Help); h != "" {
		return strings.TrimRight(h, ".") + "."
	}
	return m.Name + "."
}

// BusinessPage has a row for each metric of the program, under the requests
// that make them: a figure of the business is the first to tell that something
// breaks without an error.
func (c Config) BusinessPage() Dashboard {
	s := onPanel
	requests := Panel{Title: "Requests", Kind: Series, Unit: "reqps", Width: 12, Height: 8, Drill: ServiceUID,
		Description: "By route. When a figure below falls and this does not, something fails that is no error.",
		Queries:     []Query{{Expr: s.count(serverRequests, "http_route"), Legend: "{{http_route}}"}}}
	failed := Panel{Title: "Failed requests", Kind: Series, Unit: "percentunit", Width: 12, Height: 8, Warn: c.RouteErrors / 2, Page: c.RouteErrors, Drill: ServiceUID,
		Description: "The share by route. Does it cost the figures below?",
		Queries:     []Query{{Expr: s.share(serverRequests, serverError, "http_route"), Legend: "{{http_route}}"}}}
	page := Dashboard{
		UID:         BusinessUID,
		Title:       "Loadline / Business",
		Description: "What the program counts for itself, beside the requests that make it.",
		Rows:        []Row{{Title: "The requests", Panels: []Panel{requests, failed}}},
	}
	for _, m := range c.Business {
		page.Rows = append(page.Rows, Row{Title: m.Name, Panels: m.panels(s)})
	}
	return page
}

func (m Metric) panels(s scope) []Panel {
	half := func(p Panel) Panel {
		p.Kind, p.Width, p.Height = Series, 12, 8
		return p
	}
	// A figure of the business has hours and weekdays: the same of yesterday and
	// of last week says more than a threshold.
	against := func(what string, expr func(scope) string) Panel {
		return half(Panel{Title: what + ", against yesterday and last week", Unit: m.unit(),
			Description: "All of them. Lower than both at the same hour, without fewer requests: ask what changed.",
			Queries: []Query{
				{Expr: expr(s), Legend: "now"},
				{Expr: expr(s.ago("1d")), Legend: "1 day ago"},
				{Expr: expr(s.ago("1w")), Legend: "7 days ago"},
			}})
	}
	const minute = "60 * "
	switch m.Kind {
	case "counter":
		return []Panel{
			half(Panel{Title: "A minute", Unit: m.unit(), Description: m.help(),
				Exemplars: true, Queries: []Query{{Expr: minute + sum(s.rate(m.Name), m.Labels...), Legend: m.legend("")}}}),
			against("A minute", func(s scope) string { return minute + sum(s.rate(m.Name)) }),
		}
	case "histogram":
		return []Panel{
			half(Panel{Title: "The usual and the largest", Unit: m.unit(), Description: m.help() + " The median, and what one in twenty exceeds.", Exemplars: true,
				Queries: []Query{
					{Expr: s.quantile(0.5, m.Name, m.Labels...), Legend: m.legend("p50")},
					{Expr: s.quantile(0.95, m.Name, m.Labels...), Legend: m.legend("p95")}}}),
			against("Their sum a minute", func(s scope) string { return minute + s.total(m.Name) }),
			half(Panel{Title: "How many a minute", Unit: "short", Description: "Each is one observation.",
				Queries: []Query{{Expr: minute + s.count(m.Name, m.Labels...), Legend: m.legend("")}}}),
			half(Panel{Title: "For one request", Unit: m.unit(), Description: "The sum, divided by all requests of the service: falls when something breaks silently.",
				Queries: []Query{{Expr: s.total(m.Name) + " / (" + s.count(serverRequests) + " > 0)", Legend: "for one request"}}}),
		}
	}
	return []Panel{
		half(Panel{Title: "Now", Unit: m.unit(), Description: m.help() + " The sum of the chosen instances: distinct counts of two may hold the same one twice.",
			Queries: []Query{{Expr: sum(s.now(m.Name), m.Labels...), Legend: m.legend("")}}}),
		half(Panel{Title: "By instance", Unit: m.unit(), Description: "One that differs has other customers, or is ill.",
			Queries: []Query{{Expr: sum(s.now(m.Name), append([]string{"instance"}, m.Labels...)...), Legend: "{{instance}} " + m.legend("")}}}),
	}
}

// businessRate is the recorded events a second of each counter and histogram,
// with the label metric.
const businessRate = "business:events:rate5m"

func (c Config) businessRules() Group {
	g := Group{Name: "loadline-business"}
	for _, m := range c.Business {
		var expr string
		switch m.Kind {
		case "counter":
			expr = sum(inRule.rate(m.Name), perJob...)
		case "histogram":
			expr = inRule.count(m.Name, perJob...)
		default:
			continue
		}
		g.Records = append(g.Records, Record{Name: businessRate, Expr: expr, Labels: map[string]string{"metric": m.Name}})
	}
	if len(g.Records) == 0 || c.BusinessDrop == 0 {
		return g
	}
	g.Alerts = []Alert{{
		Name: "BusinessBelowUsual", Severity: Ticket, Category: "traffic",
		// What is usually less than one a minute may well be none for a while.
		Expr: businessRate + "\n/ ((avg_over_time(" + businessRate + "[30m] offset 1d) + avg_over_time(" + businessRate + "[30m] offset 7d)) / 2 > 1 / 60)" +
			" < " + number(c.BusinessDrop),
		For:         "10m",
		Summary:     `{{ $labels.job }}: {{ $labels.metric }} fell to {{ $value | humanizePercentage }} of what is usual`,
		Description: `Compared with the same half hour yesterday and a week ago. When requests are as many as ever, something fails that is no error.`,
		Advice: `Business page: since when, and with the requests or without? Without: what changed there, a deploy, a price, a provider that says no?
By label: one payment method alone is its provider. A public holiday also looks like this.`,
		Dashboard: BusinessUID, Vars: []string{"job"},
	}}
	return g
}

// BusinessScenarios are those of the rules for the program's own metrics.
func (c Config) BusinessScenarios() []Scenario {
	if len(c.businessRules().Alerts) == 0 {
		return nil
	}
	orders := func(usual, now float64) []Input {
		return []Input{{businessRate + `{job="shop", metric="an_invented_total"}`, fmt.Sprintf("%gx672 %gx20", usual, now)}}
	}
	return []Scenario{
		{Name: "orders fall to a fifth of what is allowed", At: daysAt, Days: true, Series: orders(5, c.BusinessDrop), Fires: []string{"BusinessBelowUsual"}},
		{Name: "orders are a little above what is allowed", At: daysAt, Days: true, Series: orders(5, 5.5*c.BusinessDrop), Silent: []string{"BusinessBelowUsual"}},
		{Name: "orders that come once in five minutes stop", At: daysAt, Days: true, Series: orders(1.0/300, 0), Silent: []string{"BusinessBelowUsual"}},
	}
}
