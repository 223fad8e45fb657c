package checks

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// files of the folder above; none is a test that reads nothing.
func files(t testing.TB, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(pattern)))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return names
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var promql = parser.NewParser(parser.Options{})

// alertRules are the alerts of all rule files by name.
func alertRules(t *testing.T) map[string]rulefmt.Rule {
	t.Helper()
	alerts, seen := map[string]rulefmt.Rule{}, map[string]bool{}
	for _, name := range append(files(t, "prometheus/*.yaml"), files(t, "prometheus/slo/*.yaml")...) {
		groups, errs := rulefmt.ParseFile(name, false, model.UTF8Validation, promql, slog.New(slog.DiscardHandler))
		for _, err := range errs {
			t.Errorf("%s: %v", name, err)
		}
		for _, g := range groups.Groups {
			for _, r := range g.Rules {
				if r.Alert != "" {
					alerts[r.Alert] = r
				}
				// promtool calls them duplicates, whatever they evaluate.
				if id := fmt.Sprint(r.Record, r.Alert, r.Labels); seen[id] {
					t.Errorf("%s: two rules %s", name, id)
				} else {
					seen[id] = true
				}
			}
		}
	}
	if len(alerts) < 50 {
		t.Fatalf("%d alerts: the test reads nothing", len(alerts))
	}
	return alerts
}

func TestRulesAreWhatPrometheusReads(t *testing.T) {
	for name, r := range alertRules(t) {
		if r.Annotations["runbook_url"] == "" || r.Labels["severity"] == "" {
			t.Errorf("%s: no runbook or no severity", name)
		}
	}
}

// Every query of every page, with Grafana's variables filled in as it does.
func TestQueriesOfPagesAreWhatPrometheusReads(t *testing.T) {
	fill := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$__interval", "30s",
		"$cluster", ".*", "$namespace", ".*", "$job", ".+", "$instance", ".+", "$route", ".*")
	left := regexp.MustCompile(`\$[A-Za-z_{]`) // "$1" is label_replace's
	parsed := 0
	for _, name := range files(t, "grafana/*.json") {
		var page any
		if err := json.Unmarshal(read(t, name), &page); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		each(page, "expr", func(expr string) {
			parsed++
			if left.MatchString(fill.Replace(expr)) {
				t.Errorf("%s: a variable is left in %s", name, fill.Replace(expr))
			}
			if _, err := promql.ParseExpr(fill.Replace(expr)); err != nil {
				t.Errorf("%s: %v in %s", name, err, expr)
			}
		})
	}
	if parsed < 300 {
		t.Errorf("%d queries: the test reads nothing", parsed)
	}
}

// each calls f for each text that is called key, however deep in v.
func each(v any, key string, f func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if text, ok := inner.(string); ok && k == key {
				f(text)
			} else {
				each(inner, key, f)
			}
		}
	case []any:
		for _, inner := range v {
			each(inner, key, f)
		}
	}
}
