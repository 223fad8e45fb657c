package plan

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/observe"
)

// A scrape carries classic buckets, native histograms or both; a query for one
// side alone goes silent when that changes.
func TestEveryHistogramIsAskedBothWays(t *testing.T) {
	c := Default()
	var exprs []string
	for _, d := range c.Dashboards() {
		exprs = append(exprs, d.Exprs()...)
	}
	for _, g := range c.Groups() {
		var halves []string
		for _, r := range g.Records {
			// Two records that are the halves of one question, asked together by
			// recordedQuantile.
			if r.Name == routeBuckets || r.Name == routeDuration {
				halves = append(halves, r.Expr)
				continue
			}
			exprs = append(exprs, r.Expr)
		}
		exprs = append(exprs, strings.Join(halves, " or "))
		for _, a := range g.Alerts {
			exprs = append(exprs, a.Expr)
		}
	}
	asked := 0
	for _, expr := range exprs {
		metrics, _, _ := uses(expr)
		var native, classic []string
		for _, u := range metrics {
			for _, d := range observe.All() {
				if d.Kind != "histogram" {
					continue
				}
				switch strings.TrimPrefix(u.metric, d.Name) {
				case "":
					native = append(native, d.Name)
				case "_bucket", "_count", "_sum":
					classic = append(classic, d.Name)
				}
			}
		}
		for _, name := range slices.Concat(native, classic) {
			asked++
			if !slices.Contains(native, name) || !slices.Contains(classic, name) {
				t.Errorf("%s is asked on one side only: %s", name, expr)
			}
		}
	}
	if asked == 0 {
		t.Error("no query asks a histogram: the test reads nothing")
	}
}

func TestAlertsKeepTheirPromises(t *testing.T) {
	c := withBusiness()
	pages := map[string]bool{}
	for _, d := range c.Dashboards() {
		pages[d.UID] = true
	}
	seen := map[string]bool{}
	template := regexp.MustCompile(`\{\{[^}]*\}\}`)
	for _, a := range c.Alerts() {
		if seen[a.Name] {
			t.Errorf("%s: twice", a.Name)
		}
		seen[a.Name] = true
		if !slices.Contains([]Severity{Page, Ticket, Info, None}, a.Severity) {
			t.Errorf("%s: severity %q", a.Name, a.Severity)
		}
		if a.Severity == Page && a.Keep == "" {
			t.Errorf("%s: a page without keep_firing_for: a flapping minute would be many notifications", a.Name)
		}
		if _, err := time.ParseDuration(a.For); err != nil {
			t.Errorf("%s: for: %v", a.Name, err)
		}
		if a.Severity != None && !strings.Contains(a.Summary, "$value") && !strings.Contains(a.Description, "$value") {
			t.Errorf("%s: no number in the summary", a.Name)
		}
		if words := template.ReplaceAllString(a.Summary, "xxxxxx"); len(words) > 110 {
			t.Errorf("%s: summary has about %d characters, a pager shows 110: %s", a.Name, len(words), words)
		}
		if !sentences(a.Description) || !sentences(a.Advice) {
			t.Errorf("%s: description and advice are sentences", a.Name)
		}
		if !pages[a.Dashboard] {
			t.Errorf("%s: dashboard %q does not exist", a.Name, a.Dashboard)
		}
		if a.Category == "" {
			t.Errorf("%s: no category", a.Name)
		}
	}
}

func TestEveryAlertIsTestedInBothDirections(t *testing.T) {
	fires, silent := map[string]bool{}, map[string]bool{}
	known := map[string]bool{}
	c := withBusiness()
	for _, a := range c.Alerts() {
		known[a.Name] = true
	}
	names := map[string]bool{}
	for _, s := range append(Scenarios(), c.BusinessScenarios()...) {
		if names[s.Name] {
			t.Errorf("scenario %q: twice", s.Name)
		}
		names[s.Name] = true
		for _, name := range slices.Concat(s.Fires, s.Silent) {
			if !known[name] {
				t.Errorf("scenario %q: no alert %s", s.Name, name)
			}
		}
		for _, name := range s.Fires {
			fires[name] = true
		}
		for _, name := range s.Silent {
			silent[name] = true
		}
	}
	for name := range known {
		if !fires[name] {
			t.Errorf("%s: no scenario in which it fires", name)
		}
		// The watchdog has no silence by design.
		if !silent[name] && name != "Watchdog" {
			t.Errorf("%s: no scenario in which it must stay silent", name)
		}
	}
}

func TestEveryPanelSaysWhatItIs(t *testing.T) {
	for _, d := range withBusiness().Dashboards() {
		for _, r := range d.Rows {
			for _, p := range r.Panels {
				where := d.UID + ": " + p.Title
				if p.Title == "" || !sentences(p.Description) {
					t.Errorf("%s: a panel has a title, and a description of whole sentences", where)
				}
				if p.Kind != Alerts && p.Kind != Text && len(p.Queries) == 0 {
					t.Errorf("%s: no query", where)
				}
				if p.Kind != Alerts && p.Kind != Text && p.Kind != Table && p.Unit == "" {
					t.Errorf("%s: no unit", where)
				}
				if ok := p.Page >= p.Warn; p.LowIsBad && p.Page > p.Warn || !p.LowIsBad && !ok {
					t.Errorf("%s: orange %v and red %v are in the wrong order", where, p.Warn, p.Page)
				}
				var headings []string
				for _, q := range p.Queries {
					headings = append(headings, q.Legend)
					if p.Kind == Table && (q.Unit == "" || q.Legend == "") {
						t.Errorf("%s: column %q has unit %q", where, q.Legend, q.Unit)
					}
				}
				if p.Kind == Table && !slices.Contains(headings, p.SortBy) {
					t.Errorf("%s: sorted by %q, which is no column", where, p.SortBy)
				}
			}
		}
	}
}

func sentences(s string) bool { return strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") }

// The line on the panel and the condition of the alert are one number.
func TestThresholdsOfPanelsAndAlertsAreOneNumber(t *testing.T) {
	c := Default()
	c.RouteP99, c.SchedWait, c.SchedWaitPage, c.GCShare = 123*time.Millisecond, 7*time.Millisecond, 77*time.Millisecond, 0.31
	for _, test := range []struct {
		panel, alert string
		value        float64
	}{
		{"p99 by route", "HTTPRouteLatencyP99High", 0.123},
		{"Scheduler latency p99 by instance", "GoSchedulerLatencyCritical", 0.077},
	} {
		found := false
		for _, d := range c.Dashboards() {
			for _, r := range d.Rows {
				for _, p := range r.Panels {
					if p.Title == test.panel {
						found = true
						if p.Page != test.value {
							t.Errorf("panel %q: red begins at %v, want %v", p.Title, p.Page, test.value)
						}
					}
				}
			}
		}
		if !found {
			t.Errorf("no panel %q", test.panel)
		}
		for _, a := range c.Alerts() {
			if a.Name == test.alert && !strings.Contains(a.Expr, " > "+number(test.value)) {
				t.Errorf("%s: %s does not compare with %v", a.Name, a.Expr, test.value)
			}
		}
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for _, test := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.RouteP99 = 0 }, "Config.RouteP99: 0s is not positive"},
		{func(c *Config) { c.RouteErrors = 5 }, "Config.RouteErrors: 5 is not a share between 0 and 1"},
		{func(c *Config) { c.RouteErrors = 0.5 }, "Config.RouteErrors: above Config.RouteErrorsPage"},
		{func(c *Config) { c.SchedWaitPage = time.Millisecond }, "Config.SchedWait: above Config.SchedWaitPage"},
		{func(c *Config) { c.Interval = time.Hour }, "Config.Interval: 1h0m0s is not a number of seconds between 1s and 2m"},
		{func(c *Config) { c.Grafana = "grafana" }, `Config.Grafana: "grafana" is not an http URL`},
		{func(c *Config) { c.Namespace = "" }, "Config.Namespace: empty"},
	} {
		c := Default()
		test.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Validate() = %v, want %q", err, test.want)
		}
	}
}
