package plan

import (
	"fmt"
	"strings"
	"time"
)

// Recorded series of service level objectives; each has the label slo.
const (
	sloObjective = "slo:objective:ratio"
	sloBad       = "slo:sli_bad:rate5m"
	sloTotal     = "slo:sli_total:rate5m"
	sloBadSum    = "slo:sli_bad:sum5m" // of the rates of five minutes, once in five minutes
	sloTotalSum  = "slo:sli_total:sum5m"
	sloBudget    = "slo:error_budget_remaining:ratio"
)

// sloRatio is the recorded share of bad events over a window.
func sloRatio(window string) string { return "slo:sli_error:ratio_rate" + window }

// burn is how many times faster than allowed the budget is spent.
func burn(window string) string {
	return sloRatio(window) + " / (1 - " + sloObjective + ")"
}

// badResult matches the requests that did not keep the promise.
const badResult = `result="bad"`

var perSLO = []string{"cluster", "namespace", "job", "slo"}

// sloWindows are what the alerts and the page look at. All of them weigh by
// events: a mean of ratios would count a quiet night as much as the busy hour.
var sloWindows = []string{"30m", "1h", "2h", "6h", "1d", "3d"}

// ofDays tells the windows that are read from sums of five minutes: 30 days of
// a rate are 86 thousand samples an objective, of sums not nine thousand.
func ofDays(window string) bool { return strings.HasSuffix(window, "d") }

// badSum and totalSum are the sums of the recorded rates over a window.
func badSum(window string) string {
	if ofDays(window) {
		return "sum_over_time(" + sloBadSum + "[" + window + "])"
	}
	return "sum_over_time(" + sloBad + "[" + window + "])"
}

func totalSum(window string) string {
	if ofDays(window) {
		return "sum_over_time(" + sloTotalSum + "[" + window + "])"
	}
	return "sum_over_time(" + sloTotal + "[" + window + "])"
}

func (c Config) budgetWindow() string { return fmt.Sprintf("%dd", c.SLODays) }

// sloRecording makes bad and total events from what a service counts for the
// objectives that it declares, or from the recorded requests for one that
// declares none; then every window from these two series, which are cheap.
func (c Config) sloRecording() Group {
	available := map[string]string{"slo": "http-availability"}
	fast := map[string]string{"slo": "http-latency"}
	undeclared := "\nunless " + on(perJob) + " " + group(declaredObjective, perJob...)
	of := func(objective float64) string {
		return number(objective) + " * " + group(jobRequests, perJob...) + undeclared
	}
	g := Group{Name: "loadline-slo-recording", SLO: true, Records: []Record{
		// During a rollout two versions may promise differently: the more counts.
		{Name: sloObjective, Expr: most(named(declaredObjective), perSLO...)},
		{Name: sloTotal, Expr: sum(named(inRule.rate(declaredRequests)), perSLO...)},
		{Name: sloBad, Expr: sum(named(inRule.where(badResult).rate(declaredRequests)), perSLO...)},
		{Name: sloObjective, Labels: available, Expr: of(c.Objective)},
		{Name: sloTotal, Labels: available, Expr: jobRequests + undeclared},
		{Name: sloBad, Labels: available, Expr: sum(routeErrors, perJob...) + undeclared},
		{Name: sloObjective, Labels: fast, Expr: of(c.LatencyObjective)},
		{Name: sloTotal, Labels: fast, Expr: jobRequests + undeclared},
		{Name: sloBad, Labels: fast, Expr: "(" + c.slowRequests() + ")" + undeclared},
		{Name: sloRatio("5m"), Expr: ratio(sloBad, sloTotal)},
	}}
	for _, w := range append(sloWindows, c.budgetWindow()) {
		g.Records = append(g.Records, Record{Name: sloRatio(w),
			Expr: ratio(badSum(w), totalSum(w))})
	}
	g.Records = append(g.Records, Record{Name: sloBudget,
		Expr: "1 - " + burn(c.budgetWindow())})
	return g
}

// sloSums are the sums that windows of days are made of. A sum is as often as
// it is long, so that no event is in two of them; of a Prometheus that was away
// at that moment one is missing, in what was bad and in the total alike.
func (c Config) sloSums() Group {
	return Group{Name: "loadline-slo-sums", SLO: true, Every: 5 * time.Minute, Records: []Record{
		{Name: sloBadSum, Expr: "sum_over_time(" + sloBad + "[5m])"},
		{Name: sloTotalSum, Expr: "sum_over_time(" + sloTotal + "[5m])"},
	}}
}

// named gives the objective's name the label that the rules know it by. The
// service does not use that one, for other generators of rules set it.
func named(expr string) string {
	return "label_replace(" + expr + `, "slo", "$1", "objective", "(.*)")`
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
	return seconds(c.Interval) + " * " + badSum(window)
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
			Name: "SLOBudgetBurnVerySlow", Severity: Ticket, Category: "slo",
			Expr: burning("3d", "6h", 1) + "\nand " + sloTotal + " offset 18h",
			For:  "3h", Summary: summary,
			Description: `Over the last 3 days and the last 6 hours: the budget is gone before its ` + c.budgetWindow() + ` are.`,
			Advice:      `A steady trickle. Mend the most frequent error of the SLO page's "What burned it", or promise less.`,
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
			Name: "SLODataMissing", Severity: Ticket, Category: "slo",
			// A declared objective counts from the start, zeros too, whatever happens;
			// the assumed ones have no series after a start until the first request.
			// A service that is gone altogether is ServiceVanished; one that still
			// has another objective has given up this one on purpose.
			Expr: "(\n  max_over_time(" + sloTotal + `{slo!~"http-availability|http-latency"}[1d]) > 0` +
				"\n  or max_over_time(" + sloTotal + "[6h]) > 0 and " + on(perJob) + " " + least(uptime, perJob...) + " > 6 * 3600" +
				"\n)\nunless " + on(perJob) + " " + sloTotal +
				"\nand " + on(perJob) + " " + group(up, perJob...),
			For:         "15m",
			Summary:     `{{ $labels.job }}: no data for the objective {{ $labels.slo }}; it had {{ $value | humanize }} requests/s`,
			Description: `The service is scraped, and yet none of its objectives has data. An objective without data never alerts.`,
			Advice: `Is the scrape all right (up), and does /metrics on the admin address have http_server_request_duration_seconds and observe_slo_requests_total?
Then a relabeling drops them, the rules of prometheus/ are not all loaded, or the objective was taken out of Config.SLOs on purpose.`,
			Dashboard: SLOUID, Vars: []string{"job"},
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
		}}, {Title: "As the service counts them, for objectives in Config.SLOs", Panels: []Panel{
			{Title: "Good requests", Kind: Series, Unit: "percentunit", Width: 12, Height: 8, LowIsBad: true,
				Description: "By objective, and what it promises. Needs no rules; empty for a service that declares none. Below the line: the budget is spent faster than it grows.",
				Queries: []Query{
					{Expr: "1 - " + ratio(sum(onPanel.where(badResult).rate(declaredRequests), "job", "objective"), sum(onPanel.rate(declaredRequests), "job", "objective")), Legend: "{{job}} {{objective}}"},
					{Expr: most(onPanel.now(declaredObjective), "job", "objective"), Legend: "{{job}} {{objective}} promised"}}},
			{Title: "Bad requests by instance", Kind: Series, Unit: "reqps", Width: 12, Height: 8, Drill: FleetUID,
				Description: "One instance alone: drain it. All alike: a dependency or a deploy.",
				Queries:     []Query{{Expr: sum(onPanel.where(badResult).rate(declaredRequests), "job", "instance", "objective"), Legend: "{{instance}} {{objective}}"}}},
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
		{Name: "one request in two hundred and fifty fails, for a week", At: daysAt, Days: true, Series: shop(flat(0.4, 700), flat(100, 700)),
			Fires: []string{"SLOBudgetBurnSlow", "SLOBudgetBurnVerySlow", "SLOBudgetExhausted"}, Silent: []string{"SLOBudgetBurnMedium", "SLOBudgetBurnFast"}},
		{Name: "one request in ten thousand fails, for a week", At: daysAt, Days: true, Series: shop(flat(0.01, 700), flat(100, 700)),
			Silent: []string{"SLOBudgetBurnSlow", "SLOBudgetBurnVerySlow", "SLOBudgetExhausted"}},
		{Name: "half of the requests fail, of which a service promises to answer a twentieth", At: "3h",
			Series: together(declared("pay", "0.05", 60, 60), route("a", "/pay", "500", 60, 0.1), route("a", "/pay", "200", 60, 0.1)),
			Silent: []string{"SLOBudgetBurnFast", "SLODataMissing"}},
		{Name: "a tenth fails, and the service promises that none in a hundred does", At: "3h",
			Series: declared("pay", "0.995", 90, 10),
			Fires:  []string{"SLOBudgetBurnFast", "SLOBudgetBurnMedium"}},
		{Name: "a tenth fails of what is promised to fail at most by half", At: "3h",
			Series: together(declared("pay", "0.5", 90, 10), declared("read", "0.999", 100, 0)),
			Silent: []string{"SLOBudgetBurnFast", "SLOBudgetBurnMedium"}},
		{Name: "the requests' metrics are dropped at the scrape", At: "150m",
			Series: together(alive("a", "1"), []Input{{declaredObjective + "{" + instanceOf("a") + `, objective="pay"}`, "0.9x70 _x330"}},
				one(declaredRequests, "0+60x70 _x330", `objective="pay"`, `result="good"`)),
			Fires: []string{"SLODataMissing"}, Silent: []string{"ServiceVanished"}},
		{Name: "the requests' metrics of a service without objectives are dropped at the scrape", At: "150m",
			Series: together(alive("a", "1"), one(serverRequests+"_count", "0+60x70 _x330", `http_request_method="GET"`, `http_route="/pay"`, `http_response_status_code="200"`)),
			Fires:  []string{"SLODataMissing"}},
		{Name: "a service was restarted and has had no request", At: "150m",
			Series: together([]Input{{up + "{" + instanceOf("a") + "}", "1x400"}, {uptime + "{" + instanceOf("a") + "}", "36000+60x70 1+60x330"}},
				one(serverRequests+"_count", "0+60x70 _x330", `http_request_method="GET"`, `http_route="/pay"`, `http_response_status_code="200"`)),
			Silent: []string{"SLODataMissing"}},
		{Name: "one of two objectives is given up", At: "150m",
			Series: together(alive("a", "1"), declared("read", "0.9", 60, 0), one(declaredRequests, "0+60x70 _x330", `objective="pay"`, `result="good"`)),
			Silent: []string{"SLODataMissing"}},
	}
}

// declared is a service that counts requests for an objective of its own.
func declared(slo, objective string, good, bad float64) []Input {
	name := `objective="` + slo + `"`
	return together(one(declaredObjective, objective+"x400", name),
		one(declaredRequests, steady(good), name, `result="good"`), one(declaredRequests, steady(bad), name, `result="bad"`))
}

// sloBounds are the bucket bounds of request durations: a latency between two
// of them could not be counted from classic buckets.
var sloBounds = []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 75 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 7500 * time.Millisecond, 10 * time.Second}
