package checks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pint returns what pint says of the rules, without a server, and an error when
// it is anything but praise. The command is pinned in go.mod.
func pint(t *testing.T, paths ...string) (string, error) {
	t.Helper()
	args := append([]string{"tool", "pint", "--offline", "--no-color", "--show-duplicates", "--config", "pint.hcl",
		"lint", "--min-severity", "info", "--fail-on", "info"}, paths...)
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	return string(out), err
}

func TestPintIsContent(t *testing.T) {
	out, err := pint(t, filepath.Join("..", "prometheus"), filepath.Join("..", "kubernetes", "base", "prometheusrule.yaml"))
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	// The alerts of the files and of the PrometheusRule, and at least 40 recording rules each.
	var entries int
	_, rest, _ := strings.Cut(out, "entries=")
	if _, err := fmt.Sscan(rest, &entries); err != nil || entries < 2*(len(alertRules(t))+40) {
		t.Errorf("pint has read %d rules: %v\n%s", entries, err, out)
	}
}

// The rules that a team makes for itself, with an alert on a metric of its own.
func TestPintIsContentWithATeamsOwnValues(t *testing.T) {
	dir := t.TempDir()
	table := filepath.Join(dir, "table.json")
	if err := os.WriteFile(table, []byte(`{"service": "shop", "program": [
		{"name": "shop_orders_total", "kind": "counter", "help": "Orders.", "labels": ["payment_method", "result"]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "-C", filepath.Join("..", "generate"), "run", ".", "-out", dir, "-table", table,
		"-team", "shop", "-interval", "15s", "-prefix", "acme", "-latency", "250ms").CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	rules := filepath.Join(dir, "prometheus")
	if text := string(read(t, filepath.Join(rules, "alerts.yaml"))); !strings.Contains(text, "shop_orders_total") {
		t.Error("no alert on the team's own metric")
	}
	if out, err := pint(t, rules); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// That pint would say so: each rule has one fault, and the name of the check
// that finds it.
func TestPintIsAskedEnough(t *testing.T) {
	record := func(name, expr string) string {
		return fmt.Sprintf("      - record: %s\n        expr: '%s'\n", name, expr)
	}
	alert := func(expr, rest string) string {
		return fmt.Sprintf("      - alert: Any\n        expr: '%s'\n        labels: {severity: warning, category: errors}\n        annotations:\n%s", expr, rest)
	}
	notes := func(summary, runbook string) string {
		return fmt.Sprintf("          summary: '%s'\n          description: A description of it.\n          runbook_url: https://example.com/%s.md\n          dashboard_url: https://example.com/d/x\n", summary, runbook)
	}
	const summary = "{{ $labels.job }} is slow"
	for check, rule := range map[string]string{
		"promql/regexp":     record("job:a:sum", `sum by (job) (a{kind=~"b"})`),
		"promql/aggregate":  record("all:a:sum", "sum(a)"),
		"rule/name":         record("a_sum", "sum by (job) (a)"),
		"alerts/comparison": alert("sum by (job) (a)", notes(summary, "Any")),
		"alerts/template":   alert("sum by (job) (a) > 1", notes("{{ $labels.instance }} is slow", "Any")),
		"alerts/annotation": alert("sum by (job) (a) > 1", notes(summary, "Other")),
		"promql/impossible": alert("sum by (job) (a) / on (instance) sum by (job) (b) > 1", notes(summary, "Any")),
		"rule/label":        strings.Replace(alert("sum by (job) (a) > 1", notes(summary, "Any")), "severity: warning", "severity: urgent", 1),
	} {
		t.Run(check, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "rules.yaml")
			if err := os.WriteFile(file, []byte("groups:\n  - name: any\n    rules:\n"+rule), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := pint(t, file); err == nil || !strings.Contains(out, "("+check+")") {
				t.Errorf("pint finds no fault of %s: %v\n%s\n%s", check, err, rule, out)
			}
		})
	}
}
