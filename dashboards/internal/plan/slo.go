package plan

import (
	"fmt"
	"time"
)

// Recorded series of service level objectives; each has the label slo.
const (
	sloObjective = "slo:objective:ratio"
	sloBad       = "slo:sli_bad:rate5m"
	sloTotal     = "slo:sli_total:rate5m"
	sloBudget    = "slo:error_budget_remaining:ratio"
)

// sloRatio is the recorded share of bad events over a window.
func sloRatio(window string) string { return "slo:sli_error:ratio_rate" + window }

// burn is how many times faster than allowed the budget is spent.
func burn(window string) string {
	return sloRatio(window) + " / (1 - " + sloObjective + ")"
}

var perSLO = []string{"cluster", "namespace", "job", "slo"}

// sloWindows are what the alerts and the page look at. All of them weigh by
// events: a mean of ratios would count a quiet night as much as the busy hour.
var sloWindows = []string{"30m", "1h", "2h", "6h", "1d", "3d"}

func (c Config) budgetWindow() string { return fmt.Sprintf("%dd", c.SLODays) }

// sloRecording makes bad and total events from the recorded requests, then
// every window from these two series, which are cheap.
func (c Config) sloRecording() Group {
	available := map[string]string{"slo": "http-availability"}
	fast := map[string]string{"slo": "http-latency"}
	exists := " * " + group(jobRequests, perJob...)
	g := Group{Name: "loadline-slo-recording", SLO: true, Records: []Record{
		{Name: sloObjective, Labels: available, Expr: number(c.Objective) + exists},
		{Name: sloTotal, Labels: available, Expr: jobRequests},
		{Name: sloBad, Labels: available, Expr: sum(routeErrors, perJob...)},
		{Name: sloObjective, Labels: fast, Expr: number(c.LatencyObjective) + exists},
		{Name: sloTotal, Labels: fast, Expr: jobRequests},
		{Name: sloBad, Labels: fast, Expr: c.slowRequests()},
		{Name: sloRatio("5m"), Expr: ratio(sloBad, sloTotal)},
	}}
	for _, w := range append(sloWindows, c.budgetWindow()) {
		g.Records = append(g.Records, Record{Name: sloRatio(w),
			Expr: ratio("sum_over_time("+sloBad+"["+w+"])", "sum_over_time("+sloTotal+"["+w+"])")})
	}
	g.Records = append(g.Records, Record{Name: sloBudget,
		Expr: "1 - " + burn(c.budgetWindow())})
	return g
}

// slowRequests are those slower than the objective's latency. Without a
// request the fraction is no number, and one of those would make every window
// it lies in no number; hence the guard.
func (c Config) slowRequests() string {
	native := sum(routeDuration, perJob...)
	le := c.Latency.Seconds()
	bound := fmt.Sprintf(`le="%g"`, le)
	if le == float64(int(le)) {
		bound = fmt.Sprintf(`le=~"%g|%g[.]0"`, le, le) // Prometheus 2 and 3
	}
	return fmt.Sprintf("(histogram_count(%s) * (1 - histogram_fraction(0, %g, %s)) and histogram_count(%s) > 0)", native, le, native, native) +
		"\nor (" + sum(routeBuckets+`{le="+Inf"}`, perJob...) + " - " + sum(routeBuckets+"{"+bound+"}", perJob...) + ")" +
		"\nor 0 * " + jobRequests
}

// badEvents is how many events of the window were bad: a recorded rate stands
// for the interval of its rule.
func (c Config) badEvents(window string) string {
	return seconds(c.Interval) + " * sum_over_time(" + sloBad + "[" + window + "])"
}

func (c Config) sloAlerts() []Alert {
	// Fewer than ten bad events are no basis for a page about a share.
	burning := func(long, short string, factor float64) string {
		return fmt.Sprintf("%s > %g\nand %s > %g\nand %s >= 10", burn(long), factor, burn(short), factor, c.badEvents(long))
	}
	summary := `{{ $labels.job }}: the error budget of {{ $labels.slo }} burns {{ $value | printf "%.1f" }} times too fast`
	return []Alert{
		{
			Name: "SLOBudgetBurnFast", Severity: Page, Category: "slo", Expr: burning("1h", "5m", 14.4),
			For: "2m", Keep: "5m", Summary: summary,
			Description: `Over the last hour and the last 5 minutes: at this rate a budget of 30 days is gone in two.`,
			Advice: `SLO page, "What burned it" for the route, then the Service page for that route.
If it began with a deploy (blue line), roll back.`,
			Dashboard: SLOUID, Vars: []string{"job"},
		},
		{
			Name: "SLOBudgetBurnMedium", Severity: Page, Category: "slo", Expr: burning("6h", "30m", 6),
			For: "15m", Keep: "5m", Summary: summary,
			Description: `Over the last 6 hours and the last 30 minutes: at this rate a budget of 30 days is gone in five.`,
			Advice:      `As for SLOBudgetBurnFast; usually one route or one instance (Fleet page).`,
			Dashboard:   SLOUID, Vars: []string{"job"},
		},
		{
			Name: "SLOBudgetBurnSlow", Severity: Ticket, Category: "slo",
			// A service that is younger than that has no day to judge by.
			Expr: burning("1d", "2h", 3) + "\nand " + sloTotal + " offset 6h",
			For:  "1h", Summary: summary,
			Description: `Over the last day and the last 2 hours: at this rate a budget of 30 days is gone in ten.`,
			Advice:      `Today: find the route with the largest share of bad events of the last day on the SLO page.`,
			Dashboard:   SLOUID, Vars: []string{"job"},
		},
		{
			Name: "SLOBudgetExhausted", Severity: Ticket, Category: "slo",
			Expr:        sloBudget + " < 0\nand " + sloTotal + " offset 7d",
			For:         "15m",
			Summary:     `{{ $labels.job }}: {{ $labels.slo }} has {{ $value | humanizePercentage }} of its error budget left`,
			Description: `More failed in ` + c.budgetWindow() + ` than the objective allows.`,
			Advice:      `Hold risky releases until it is positive again, and say so where releases are announced. Or the objective is not what users need: change it.`,
			Dashboard:   SLOUID, Vars: []string{"job"},
		},
		{
			Name: "SLOLowTrafficFailures", Severity: Ticket, Category: "slo",
			Expr:        sloRatio("6h") + " > 0.5\nand " + c.badEvents("6h") + " >= 3\nand " + c.badEvents("6h") + " < 10",
			For:         "30m",
			Summary:     `{{ $labels.job }}: {{ $value | humanizePercentage }} of its few requests are bad ({{ $labels.slo }})`,
			Description: `Over 6 hours, between 3 and 10 of them: too few for a page about a share, and yet it hardly works.`,
			Advice:      `Make one request by hand. A service like this wants a probe that calls it every minute.`,
			Dashboard:   SLOUID, Vars: []string{"job"},
		},
	}
}

// SLO is the objectives, what is left of their budgets, and what burns them.
func (c Config) SLO() Dashboard {
	chosen := scope{match: `cluster=~"$cluster", namespace=~"$namespace", job=~"$job"`}
	now := func(name string) string { return chosen.now(name) }
	burnNow := func(window string) string { return now(sloRatio(window)) + " / (1 - " + now(sloObjective) + ")" }
	return Dashboard{
		UID:         SLOUID,
		Title:       "Loadline / SLO",
		Description: "Objectives, what is left of their error budgets, and what burns them. Needs the rules in prometheus/slo.",
		Rows: []Row{{Title: "Objectives", Panels: []Panel{
			{Title: "Objectives, least budget first", Kind: Table, Width: 24, Height: 7, SortBy: "Burn 1h",
				Description: "Budget left of the last " + c.budgetWindow() + ": 100 % is untouched, below 0 is overspent. A burn of 1 spends it exactly.",
				Queries: []Query{
					{Expr: most(now(sloObjective), "job", "slo"), Legend: "Objective", Unit: "percentunit"},
					{Expr: most("1 - "+now(sloRatio(c.budgetWindow())), "job", "slo"), Legend: "Reached", Unit: "percentunit"},
					{Expr: aggregate("min", now(sloBudget), "job", "slo"), Legend: "Budget left", Unit: "percentunit"},
					{Expr: most(burnNow("1h"), "job", "slo"), Legend: "Burn 1h", Unit: "short", Warn: 6, Page: 14.4},
					{Expr: most(burnNow("6h"), "job", "slo"), Legend: "Burn 6h", Unit: "short", Warn: 3, Page: 6}}},
			{Title: "Budget left", Kind: Series, Unit: "percentunit", Width: 8, Height: 9, Warn: 0.25, Page: 0.001, LowIsBad: true,
				Description: "The slope is the burn; the marks of deploys and alerts show what began it.",
				Queries:     []Query{{Expr: now(sloBudget), Legend: "{{job}} {{slo}}"}}},
			{Title: "Burn rate by window", Kind: Series, Unit: "short", Width: 8, Height: 9, Warn: 6, Page: 14.4,
				Description: "1 spends the budget exactly. Pages come at 14.4 over an hour and at 6 over six hours, while the short window agrees.",
				Queries: []Query{
					{Expr: burnNow("5m"), Legend: "{{job}} {{slo}} 5m"},
					{Expr: burnNow("1h"), Legend: "{{job}} {{slo}} 1h"},
					{Expr: burnNow("6h"), Legend: "{{job}} {{slo}} 6h"},
					{Expr: burnNow("3d"), Legend: "{{job}} {{slo}} 3d"}}},
			{Title: "What burned it: failed requests an hour, by route", Kind: Series, Unit: "short", Width: 8, Height: 9, Stack: true,
				Description: "The eight routes with most failures.",
				Queries:     []Query{{Expr: "topk(8, 3600 * " + sum(now(routeErrors), "http_request_method", "http_route") + ")", Legend: "{{http_request_method}} {{http_route}}"}}},
		}}},
	}
}

func sloScenarios() []Scenario {
	shop := func(bad, total string) []Input {
		labels := `{job="shop", http_request_method="GET", http_route="/pay"}`
		return []Input{{routeErrors + labels, bad}, {jobRequests + `{job="shop"}`, total}}
	}
	flat := func(v float64, n int) string { return fmt.Sprintf("%gx%d", v, n) }
	return []Scenario{
		{Name: "a twentieth of the requests fails", At: "3h", Series: shop(flat(0.5, 400), flat(10, 400)),
			Fires: []string{"SLOBudgetBurnFast", "SLOBudgetBurnMedium"}, Silent: []string{"SLOLowTrafficFailures"}},
		{Name: "a twentieth failed, until half an hour ago", At: "3h", Series: shop("0.5x150 0x250", flat(10, 400)),
			Silent: []string{"SLOBudgetBurnFast"}},
		{Name: "one request in two hundred fails", At: "6h", Series: shop(flat(0.07, 400), flat(10, 400)),
			Fires: []string{"SLOBudgetBurnMedium"}, Silent: []string{"SLOBudgetBurnFast"}},
		{Name: "one request in ten thousand fails", At: "6h", Series: shop(flat(0.001, 400), flat(10, 400)),
			Silent: []string{"SLOBudgetBurnFast", "SLOBudgetBurnMedium", "SLOLowTrafficFailures"}},
		// Twelve in six hours; looked at each minute, rules made for every 30 s count six.
		{Name: "each of a few requests fails", At: "400m", Series: shop(flat(0.00056, 420), flat(0.00056, 420)),
			Fires: []string{"SLOLowTrafficFailures"}, Silent: []string{"SLOBudgetBurnFast", "SLOBudgetBurnMedium"}},
		{Name: "one request in two hundred and fifty fails, for nine days", At: "216h", Days: true, Series: shop(flat(0.4, 900), flat(100, 900)),
			Fires: []string{"SLOBudgetBurnSlow", "SLOBudgetExhausted"}, Silent: []string{"SLOBudgetBurnMedium", "SLOBudgetBurnFast"}},
		{Name: "one request in ten thousand fails, for nine days", At: "216h", Days: true, Series: shop(flat(0.01, 900), flat(100, 900)),
			Silent: []string{"SLOBudgetBurnSlow", "SLOBudgetExhausted"}},
	}
}

// sloBounds are the bucket bounds of request durations: a latency between two
// of them could not be counted from classic buckets.
var sloBounds = []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 75 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 7500 * time.Millisecond, 10 * time.Second}
