package plan

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/loadline-go/loadline/observe"
)

// onNoPanel are the metrics of observe.All() that no page shows, each with the
// reason.
var onNoPanel = map[string]string{}

// targetLabels come from the scrape's configuration, le from the histogram.
var targetLabels = []string{"cluster", "namespace", "job", "instance", "le", "__name__"}

// alertLabels are what the rules give an alert.
var alertLabels = []string{"alertname", "alertstate", "severity", "category", "team"}

// A use is a metric in an expression with the labels that its matchers name.
type use struct {
	metric string
	labels []string
}

var (
	quoted      = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	labelLists  = regexp.MustCompile(`\b(by|on|ignoring|group_left|without)\s*\(([^()]*)\)`)
	madeLabels  = regexp.MustCompile(`"([a-z_]+)", "[^"]*", "([a-z_]+)"`)
	matchers    = regexp.MustCompile(`\{([^{}]*)\}`)
	matcherName = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_]*)\s*(?:=~|!~|!=|=)`)
	ranges      = regexp.MustCompile(`\[[^\]]*\]`)
	selector    = regexp.MustCompile(`([A-Za-z_:][A-Za-z0-9_:]*)(\x00\d+\x00)?`)
	keywords    = []string{"by", "on", "ignoring", "group_left", "without", "or", "and", "unless", "offset", "bool"}
)

// uses reads the metrics, the labels that are matched and the labels that are
// grouped by from an expression. It knows as much of PromQL as the plan uses;
// that the expressions are PromQL is for promtool to say.
func uses(expr string) (metrics []use, grouped, made []string) {
	for _, m := range madeLabels.FindAllStringSubmatch(expr, -1) {
		made = append(made, m[1], m[2])
	}
	var braces [][]string
	expr = quoted.ReplaceAllString(expr, `""`)
	expr = matchers.ReplaceAllStringFunc(expr, func(m string) string {
		var names []string
		for _, n := range matcherName.FindAllStringSubmatch(m, -1) {
			names = append(names, n[1])
		}
		braces = append(braces, names)
		return "\x00" + string(rune('0'+(len(braces)-1)/100)) + string(rune('0'+(len(braces)-1)/10%10)) + string(rune('0'+(len(braces)-1)%10)) + "\x00"
	})
	expr = ranges.ReplaceAllString(expr, "")
	expr = labelLists.ReplaceAllStringFunc(expr, func(m string) string {
		list := labelLists.FindStringSubmatch(m)[2]
		for label := range strings.SplitSeq(list, ",") {
			if label = strings.TrimSpace(label); label != "" {
				grouped = append(grouped, label)
			}
		}
		return " "
	})
	expr = regexp.MustCompile(`offset\s+\w+`).ReplaceAllString(expr, " ")
	for _, at := range selector.FindAllStringSubmatchIndex(expr, -1) {
		name := expr[at[2]:at[3]]
		if slices.Contains(keywords, name) || at[2] > 0 && strings.ContainsAny(expr[at[2]-1:at[2]], "0123456789.") {
			continue
		}
		if strings.HasPrefix(strings.TrimLeft(expr[at[1]:], " "), "(") && at[4] < 0 {
			continue // a function
		}
		u := use{metric: name}
		if at[4] >= 0 {
			n := expr[at[4]+1 : at[5]-1]
			u.labels = braces[int(n[0]-'0')*100+int(n[1]-'0')*10+int(n[2]-'0')]
		}
		metrics = append(metrics, u)
	}
	return metrics, grouped, made
}

func TestUsesReadsAnExpression(t *testing.T) {
	metrics, grouped, made := uses(`label_join(sum by (a, le) (rate(m_bucket{job="x{}y", b=~"2"}[5m] offset 1d)), "dependency", ":", "c") / on (d) group_left () (n > 1e15) or job:r:rate5m`)
	if len(metrics) != 3 || metrics[0].metric != "m_bucket" || !slices.Equal(metrics[0].labels, []string{"job", "b"}) || metrics[1].metric != "n" || metrics[2].metric != "job:r:rate5m" {
		t.Errorf("metrics = %v", metrics)
	}
	if !slices.Equal(grouped, []string{"a", "le", "d"}) {
		t.Errorf("grouped = %v", grouped)
	}
	if !slices.Equal(made, []string{"dependency", "c"}) {
		t.Errorf("made = %v", made)
	}
}

// A book knows every metric that a query may name, and its labels.
type book map[string][]string

func newBook(c Config) book {
	b := book{
		up:         nil,
		scrapeTime: nil,
		scrapeSize: nil,
		// Whatever the rule kept; the pages ask for job and severity.
		alerts: alertLabels,
	}
	for _, d := range observe.All() {
		if d.Kind == "histogram" {
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				b[d.Name+suffix] = d.Labels
			}
		}
		b[d.Name] = d.Labels
	}
	// Recorded series keep what they were summed by. Twice, for the windows
	// of days are recorded before the sums that they are made of.
	for range 2 {
		for _, g := range c.Groups() {
			for _, r := range g.Records {
				_, grouped, made := uses(r.Expr)
				b[r.Name] = append(append(b[r.Name], grouped...), made...)
				for label := range r.Labels {
					b[r.Name] = append(b[r.Name], label)
				}
				if len(grouped) == 0 || strings.HasPrefix(r.Expr, "topk") {
					metrics, _, _ := uses(r.Expr)
					for _, u := range metrics {
						b[r.Name] = append(b[r.Name], b[u.metric]...)
					}
				}
			}
		}
	}
	return b
}

// check reports names in the expression that nothing exports.
func (b book) check(t *testing.T, where, expr string) {
	t.Helper()
	metrics, grouped, made := uses(expr)
	known := slices.Concat(targetLabels, made)
	for _, u := range metrics {
		labels, ok := b[u.metric]
		if !ok {
			t.Errorf("%s: metric %s is not in observe.All()\n%s", where, u.metric, expr)
			continue
		}
		known = append(known, labels...)
		for _, label := range u.labels {
			if !slices.Contains(labels, label) && !slices.Contains(targetLabels, label) {
				t.Errorf("%s: metric %s has no label %s\n%s", where, u.metric, label, expr)
			}
		}
	}
	for _, label := range slices.Concat(grouped, made) {
		if !slices.Contains(known, label) {
			t.Errorf("%s: grouped by %s, which no metric of the query has\n%s", where, label, expr)
		}
	}
}

func TestEveryNameInEveryQueryExists(t *testing.T) {
	c := Default()
	b := newBook(c)
	for _, d := range c.Dashboards() {
		for _, expr := range d.Exprs() {
			b.check(t, d.UID, expr)
		}
		for _, v := range d.Variables() {
			expr := v.Query[strings.Index(v.Query, "(")+1 : strings.LastIndex(v.Query, ",")]
			if strings.HasPrefix(expr, "{__name__") {
				if !strings.Contains(expr, serverRequests) {
					t.Errorf("%s: variable %s asks an unknown metric: %s", d.UID, v.Name, v.Query)
				}
				continue
			}
			b.check(t, d.UID+" variable "+v.Name, expr)
		}
	}
	b.check(t, "annotation doctor", topFinding+`{job="shop", sentence="calls of mail fail"}`)
	for _, g := range c.Groups() {
		for _, r := range g.Records {
			b.check(t, r.Name, r.Expr)
		}
		for _, a := range g.Alerts {
			b.check(t, a.Name, a.Expr)
		}
	}
}

func TestEveryMetricIsOnAPanel(t *testing.T) {
	shown := map[string]bool{}
	for _, d := range Default().Dashboards() {
		for _, r := range d.Rows {
			for _, p := range r.Panels {
				for _, q := range p.Queries {
					metrics, _, _ := uses(q.Expr)
					for _, u := range metrics {
						shown[u.metric] = true
					}
				}
			}
		}
	}
	for _, d := range observe.All() {
		reason, excused := onNoPanel[d.Name]
		switch {
		case shown[d.Name] && excused:
			t.Errorf("%s is on a panel, and excused: %s", d.Name, reason)
		case !shown[d.Name] && !excused:
			t.Errorf("%s is on no panel and has no reason in onNoPanel", d.Name)
		}
	}
}

// A summary, a link or a description may only use labels that the alert keeps.
func TestAlertsNameOnlyLabelsTheyHave(t *testing.T) {
	c := Default()
	b := newBook(c)
	inText := regexp.MustCompile(`\$labels\.([a-z_]+)`)
	for _, a := range c.Alerts() {
		metrics, grouped, _ := uses(a.Expr)
		has := slices.Concat(targetLabels, grouped)
		for _, u := range metrics {
			has = append(has, b[u.metric]...)
		}
		names := slices.Clone(a.Vars)
		for _, m := range inText.FindAllStringSubmatch(a.Summary+a.Description, -1) {
			names = append(names, m[1])
		}
		for _, label := range names {
			if !slices.Contains(has, label) {
				t.Errorf("%s: names label %s, which its expression does not keep", a.Name, label)
			}
		}
	}
}
