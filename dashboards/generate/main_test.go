package main

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/loadline-go/loadline/dashboards/internal/plan"
)

// The folders of dashboards/ that hold generated files and nothing else.
var generated = []string{"grafana", "prometheus", "runbooks", "alertmanager", "kubernetes", "testdata"}

func TestCheckedInFilesAreGenerated(t *testing.T) {
	files, err := generate(plan.Default())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Errorf("not generated: %v", err)
		} else if string(got) != want {
			t.Errorf("%s differs from the plan: run go generate ./dashboards", name)
		}
	}
	for _, dir := range generated {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel("..", path)
			if _, ok := files[filepath.ToSlash(name)]; !ok {
				t.Errorf("%s is no longer generated: remove it", name)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestRunTakesATeamsOwnValues(t *testing.T) {
	out := t.TempDir()
	var stdout bytes.Buffer
	args := []string{"-out", out, "-team", "shop", "-route-p99", "300ms", "-sched-wait", "5ms", "-interval", "15s",
		"-runbooks", "https://wiki.example.com/runbooks/", "-grafana", "https://grafana.example.com/"}
	if err := run(args, &stdout, &stdout); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stdout.String(), "wrote ") {
		t.Errorf("said %q", stdout.String())
	}
	for file, wants := range map[string][]string{
		"prometheus/alerts.yaml": {
			"team: shop", "> 0.3\n", "> 0.005\n", `interval: "15s"`,
			"runbook_url: https://wiki.example.com/runbooks/HTTPRouteErrorsHigh.md",
			"https://grafana.example.com/d/loadline-service?var-job={{ $labels.job | urlquery }}"},
		"grafana/loadline-service.json": {`"value": 0.3`},
	} {
		got, err := os.ReadFile(filepath.Join(out, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(got), want) {
				t.Errorf("%s has no %q", file, want)
			}
		}
	}
}

// A running program's table becomes a page, which is held to what the
// checked-in ones are.
func TestRunMakesAPageOfAProgramsOwnMetrics(t *testing.T) {
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"service": "shop", "program": [
			{"name": "shop_orders_total", "kind": "counter", "help": "Orders.", "labels": ["payment_method", "result"]},
			{"name": "shop_order_euros", "kind": "histogram", "unit": "{euros}", "help": "Value of an order"},
			{"name": "shop_active_users", "kind": "gauge", "unit": "{users}", "help": "Users.", "labels": ["window"]}]}`)
	}))
	defer program.Close()
	out := t.TempDir()
	var stdout bytes.Buffer
	if err := run([]string{"-out", out, "-table", program.URL}, &stdout, &stdout); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(out, "grafana", "loadline-business.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`60 * sum by (payment_method, result) (rate(shop_orders_total{`, `"legendFormat": "{{payment_method}} {{result}}"`, `offset 1w`,
		`histogram_quantile(0.5, sum by (le) (rate(shop_order_euros_bucket{`, `"unit": "currencyEUR"`, "Value of an order.",
		`sum by (window) (shop_active_users{`, `"title": "shop_active_users"`,
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %s", want)
		}
	}
	queries, err := os.ReadFile(filepath.Join(out, "testdata", "queries.yaml"))
	if err != nil || strings.Count(string(queries), "dashboard: loadline-business") < 15 {
		t.Errorf("promtool would not read the queries of the page: %v", err)
	}
	if _, err := os.Stat(filepath.Join(out, "kubernetes", "base", "dashboards.yaml")); err != nil {
		t.Error(err)
	}
}

// The objectives of a running program, for those who make rules of them elsewhere.
func TestRunWritesObjectivesForSlothAndPyrra(t *testing.T) {
	table := filepath.Join(t.TempDir(), "table.json")
	if err := os.WriteFile(table, []byte(`{"service": "the \"shop\"", "slos": [
		{"name": "available", "objective": 0.9995},
		{"name": "pay", "route": "POST /pay", "objective": 0.99, "latency_seconds": 0.3}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	if err := run([]string{"-out", out, "-table", table, "-sloth", "-pyrra", "-team", "shop", "-slo-days", "28"}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	for file, wants := range map[string][]string{
		"slo/sloth.yaml": {
			"version: prometheus/v1\n", `service: "the \"shop\""`, "objective: 99.95\n", "objective: 99\n",
			`error_query: "sum(rate(observe_slo_requests_total{job=\"the \\\"shop\\\"\", objective=\"pay\", result=\"bad\"}[{{.window}}]))"`,
			"99 % of the requests to POST /pay are answered without an error of the server, within 0.3 s.", "team: shop"},
		"slo/pyrra.yaml": {
			"kind: ServiceLevelObjective", "name: the-shop-available", `target: "99.95"`, `window: "28d"`,
			`metric: "observe_slo_requests_total{job=\"the \\\"shop\\\"\", objective=\"pay\"}"`, "pyrra.dev/team: shop"},
	} {
		got, err := os.ReadFile(filepath.Join(out, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(got), want) {
				t.Errorf("%s has no %s:\n%s", file, want, got)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(out, "grafana", "loadline-business.json")); err == nil {
		t.Error("a page of the program's metrics, of which it has none")
	}
}

// Two sets side by side must not share a name.
func TestRunNamesEverythingByItsPrefix(t *testing.T) {
	out := t.TempDir()
	if err := run([]string{"-out", out, "-prefix", "acme"}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	taken := regexp.MustCompile(`"loadline"|\bloadline-[a-z-]+|\bname: loadline\b`)
	found := 0
	err := filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		found += strings.Count(string(text), "acme-service")
		for _, m := range taken.FindAllString(strings.ReplaceAll(string(text), "github.com/loadline-go", ""), -1) {
			t.Errorf("%s: %s", path, m)
		}
		if strings.HasPrefix(filepath.Base(path), "loadline-") {
			t.Errorf("%s is called as usual", path)
		}
		return err
	})
	if err != nil || found < 10 {
		t.Errorf("acme-service is named %d times, %v", found, err)
	}
}

func TestRunRefusesWhatCannotWork(t *testing.T) {
	hostile := filepath.Join(t.TempDir(), "table.json")
	if err := os.WriteFile(hostile, []byte(`{"program": [{"name": "shop_orders{", "kind": "counter"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	nameless := filepath.Join(t.TempDir(), "slos.json")
	if err := os.WriteFile(nameless, []byte(`{"slos": [{"name": "a\"b", "objective": 0.9}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-route-errors", "5"}, "Config.RouteErrors: 5 is not a share between 0 and 1"},
		{[]string{"-interval", "10m"}, "Config.Interval"},
		{[]string{"-table", "no-such-file"}, "-table: open no-such-file"},
		{[]string{"-table", "main.go"}, "-table: main.go: not what /debug/metrics/table tells"},
		{[]string{"-table", hostile}, `Config.Business: "shop_orders{": "shop_orders{" is no name of a metric or label`},
		{[]string{"-table", "main.go", "-out", "dashboards"}, "-table: -out is missing"},
		{[]string{"-prefix", "Acme"}, `Config.Prefix: "Acme": want up to 20 lower-case letters`},
		{[]string{"-sloth"}, "they want -table of a program with objectives"},
		{[]string{"-table", nameless}, `Config.SLOs: "a\"b" is no name of an objective`},
		{[]string{"extra"}, `unexpected argument "extra"`},
		{[]string{"-no-such-flag"}, "no-such-flag"},
	} {
		out := t.TempDir()
		var stderr bytes.Buffer
		err := run(append([]string{"-out", out}, test.args...), &stderr, &stderr)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("run(%q) = %v, want %q", test.args, err, test.want)
		}
		if left, _ := os.ReadDir(out); len(left) != 0 {
			t.Errorf("run(%q) failed and wrote %v", test.args, left)
		}
	}
}

func TestYAMLQuotesWhatWouldBeReadAsSomethingElse(t *testing.T) {
	got := yaml([]pair{
		{"plain", "loadline-http"}, {"bool", "yes"}, {"number", "5"}, {"colon", "a: b"}, {"template", "{{ $value }}"}, {"empty", ""},
		{"lines", "a\nb"}, {"text", "a\n\n  b\n"}, {"count", 3}, {"on", true},
		{"list", []any{"x y", []pair{{"k", "v"}, {"l", []any{"w"}}}}}, {"none", []any{}}, {"map", []pair{}},
	})
	want := `plain: loadline-http
bool: "yes"
number: "5"
colon: "a: b"
template: "{{ $value }}"
empty: ""
lines: |-
  a
  b
text: |
  a

    b
count: 3
"on": true
list:
  - "x y"
  - k: v
    l:
      - w
none: []
map: {}
`
	if got != want {
		t.Errorf("yaml:\n%s\nwant:\n%s", got, want)
	}
}
