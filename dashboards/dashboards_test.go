package dashboards_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/loadline-go/loadline/dashboards"
	"github.com/loadline-go/loadline/observe"
)

// What Grafana reads of a page, as far as it must be right. Grafana itself is
// no judge: its API accepts a panel whose place is "x".
type page struct {
	UID           string   `json:"uid"`
	Title         string   `json:"title"`
	Description   string   `json:"description"`
	Tags          []string `json:"tags"`
	SchemaVersion int      `json:"schemaVersion"`
	Inputs        any      `json:"__inputs"`
	ID            any      `json:"id"`
	Editable      *bool    `json:"editable"`
	Panels        []panel  `json:"panels"`
	Templating    struct {
		List []struct {
			Name, Type, AllValue string
			Refresh, Hide        int
			Multi                bool
			Datasource           source
			Query                any
		}
	}
	Annotations struct {
		List []struct {
			Name, Expr string
			Datasource source
		}
	}
	Links []struct{ Title, Type string }
}

type source struct{ Type, UID string }

type target struct {
	Expr, RefID, Format, LegendFormat string
	Instant, Range, Exemplar          bool
	Datasource                        source
}

type link struct {
	Title, URL, Type string
	TargetBlank      bool
}

type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Collapsed   bool
	Datasource  source
	GridPos     *struct{ X, Y, W, H int }
	Targets     []target
	FieldConfig struct {
		Defaults struct {
			Unit       string
			Links      []link
			Thresholds *struct{ Steps []struct{ Value *float64 } }
		}
		Overrides []struct {
			Matcher    struct{ Options any }
			Properties []struct {
				ID    string
				Value any
			}
		}
	}
	Options json.RawMessage
	Links   []link
	Panels  []panel
}

func pages(t *testing.T) map[string]page {
	t.Helper()
	names, err := fs.Glob(dashboards.Files(), "grafana/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	all := map[string]page{}
	for _, name := range names {
		raw, err := fs.ReadFile(dashboards.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		var p page
		if err := json.Unmarshal(raw, &p); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := "grafana/" + p.UID + ".json"; name != want {
			t.Errorf("%s: holds uid %q", name, p.UID)
		}
		all[p.UID] = p
	}
	return all
}

var (
	panelTypes = []string{"row", "stat", "timeseries", "table", "heatmap", "state-timeline", "alertlist", "text"}
	units      = []string{"s", "reqps", "ops", "percentunit", "percent", "bytes", "Bps", "short", "h"}
	variable   = regexp.MustCompile(`\$\{?([A-Za-z_]+)`)
	uid        = regexp.MustCompile(`^[a-z][a-z0-9-]{7,39}$`)
)

func TestPagesAreWhatGrafanaExpects(t *testing.T) {
	for name, p := range pages(t) {
		t.Run(name, func(t *testing.T) {
			if !uid.MatchString(p.UID) || p.Title == "" || p.Description == "" || !slices.Contains(p.Tags, "loadline") {
				t.Errorf("uid %q, title %q, description %q, tags %q", p.UID, p.Title, p.Description, p.Tags)
			}
			if p.SchemaVersion < 36 {
				t.Errorf("schemaVersion %d is older than Grafana 10", p.SchemaVersion)
			}
			if p.Inputs != nil || p.ID != nil {
				t.Error("__inputs or a numeric id: the file could be imported by hand, but not provisioned")
			}
			if p.Editable == nil || *p.Editable {
				t.Error("editable: a change would be lost with the next version")
			}
			vars := checkVariables(t, p)
			for _, a := range p.Annotations.List {
				checkSource(t, "annotation "+a.Name, a.Datasource)
				checkExpr(t, "annotation "+a.Name, a.Expr, vars)
			}
			for _, l := range p.Links {
				if l.Type != "link" && l.Type != "dashboards" {
					t.Errorf("link %q: type %q", l.Title, l.Type)
				}
			}
			ids := map[int]string{}
			checkPanels(t, p.Panels, ids, vars)
			for _, row := range p.Panels {
				if row.Type != "row" && len(row.Panels) > 0 {
					t.Errorf("%q holds panels and is no row", row.Title)
				}
				if !row.Collapsed && len(row.Panels) > 0 {
					t.Errorf("row %q is open and holds panels: Grafana would not draw them", row.Title)
				}
				checkPanels(t, row.Panels, ids, vars)
			}
		})
	}
}

func checkVariables(t *testing.T, p page) []string {
	t.Helper()
	vars := []string{"__rate_interval", "__interval", "__range", "__value", "__url_time_range", "__from", "__to", "__field"}
	for i, v := range p.Templating.List {
		vars = append(vars, v.Name)
		if i == 0 {
			if v.Name != "datasource" || v.Type != "datasource" || v.Query != "prometheus" {
				t.Errorf("the first variable is %s of type %s", v.Name, v.Type)
			}
			continue
		}
		if v.Name == "profiles" {
			// Hidden, for who has no such source would see an empty choice.
			if v.Type != "datasource" || v.Query != "grafana-pyroscope-datasource" || v.Hide != 2 || v.Multi {
				t.Errorf("variable profiles: type %s, query %v, hide %d", v.Type, v.Query, v.Hide)
			}
			continue
		}
		checkSource(t, "variable "+v.Name, v.Datasource)
		if v.Type != "query" || v.Refresh != 2 || !v.Multi {
			t.Errorf("variable %s: type %s, refresh %d: it would not follow the time range", v.Name, v.Type, v.Refresh)
		}
		// A selector in which each matcher may match nothing is refused.
		if want := map[string]string{"job": ".+", "instance": ".+"}[v.Name]; want != "" && v.AllValue != want {
			t.Errorf("variable %s: All is %q, want %q", v.Name, v.AllValue, want)
		}
	}
	return vars
}

func checkSource(t *testing.T, where string, s source) {
	t.Helper()
	if s.Type != "prometheus" || s.UID != "${datasource}" {
		t.Errorf("%s: data source %+v is not the variable", where, s)
	}
}

func checkExpr(t *testing.T, where, expr string, vars []string) {
	t.Helper()
	if expr == "" {
		t.Errorf("%s: no expression", where)
	}
	for _, m := range variable.FindAllStringSubmatch(expr, -1) {
		if !slices.Contains(vars, m[1]) {
			t.Errorf("%s: unknown variable $%s in %s", where, m[1], expr)
		}
	}
}

// checkPanels judges panels that share a grid: those of the page, or those
// inside one closed row.
func checkPanels(t *testing.T, panels []panel, ids map[int]string, vars []string) {
	t.Helper()
	taken := map[[2]int]string{}
	for _, p := range panels {
		where := fmt.Sprintf("%s %d %q", p.Type, p.ID, p.Title)
		if other, ok := ids[p.ID]; ok || p.ID <= 0 {
			t.Errorf("%s: id is taken by %q or not positive", where, other)
		}
		ids[p.ID] = p.Title
		if !slices.Contains(panelTypes, p.Type) {
			t.Errorf("%s: unknown type", where)
		}
		if g := p.GridPos; g == nil || g.W < 1 || g.H < 1 || g.X < 0 || g.Y < 0 || g.X+g.W > 24 {
			t.Errorf("%s: place %+v", where, g)
		} else {
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other, ok := taken[[2]int{x, y}]; ok {
						t.Fatalf("%s: lies on %s at %d,%d", where, other, x, y)
					}
					taken[[2]int{x, y}] = where
				}
			}
		}
		if p.Title == "" {
			t.Errorf("%s: no title", where)
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" {
			t.Errorf("%s: no description", where)
		}
		if len(p.Options) == 0 {
			t.Errorf("%s: no options", where)
		}
		checkTargets(t, where, p, vars)
		for i, step := range p.FieldConfig.Defaults.Thresholds.Steps {
			if (i == 0) != (step.Value == nil) {
				t.Errorf("%s: threshold %d: the first has no value, the others have", where, i)
			}
		}
		for _, l := range slices.Concat(p.Links, p.FieldConfig.Defaults.Links) {
			checkExpr(t, where+" link", l.URL, vars)
		}
	}
}

func checkTargets(t *testing.T, where string, p panel, vars []string) {
	t.Helper()
	if p.Type == "alertlist" || p.Type == "text" {
		return
	}
	checkSource(t, where, p.Datasource)
	if len(p.Targets) == 0 {
		t.Errorf("%s: no query", where)
	}
	seen := map[string]bool{}
	exemplars := 0
	for _, q := range p.Targets {
		if q.RefID == "" || seen[q.RefID] {
			t.Errorf("%s: refId %q is empty or twice", where, q.RefID)
		}
		seen[q.RefID] = true
		checkSource(t, where+" "+q.RefID, q.Datasource)
		checkExpr(t, where+" "+q.RefID, q.Expr, vars)
		if q.Instant == q.Range {
			t.Errorf("%s %s: instant %v, range %v", where, q.RefID, q.Instant, q.Range)
		}
		if strings.Contains(q.Expr, "rate(") && !strings.Contains(q.Expr, "[$__rate_interval]") {
			t.Errorf("%s %s: a rate over a fixed stretch: %s", where, q.RefID, q.Expr)
		}
		if strings.Contains(q.Expr, "{") && !strings.Contains(q.Expr, `job=~"$job"`) {
			t.Errorf("%s %s: does not ask for the chosen service: %s", where, q.RefID, q.Expr)
		}
		if q.Exemplar {
			exemplars++
		}
	}
	if exemplars > 1 {
		t.Errorf("%s: %d queries ask for exemplars: each dot would be drawn as often", where, exemplars)
	}
	if p.Type != "table" {
		if !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
			t.Errorf("%s: unit %q", where, p.FieldConfig.Defaults.Unit)
		}
		return
	}
	for _, o := range p.FieldConfig.Overrides {
		for _, prop := range o.Properties {
			if unit, ok := prop.Value.(string); prop.ID == "unit" && (!ok || !slices.Contains(units, unit)) {
				t.Errorf("%s: column %v: unit %v", where, o.Matcher.Options, prop.Value)
			}
		}
	}
}

// From a line to the function, and from a dot to the request.
func TestPanelsLeadToFlameGraphsAndTraces(t *testing.T) {
	flames, traces := 0, 0
	for name, p := range pages(t) {
		profiles := false
		for _, v := range p.Templating.List {
			profiles = profiles || v.Name == "profiles"
		}
		before := flames
		panels := p.Panels
		for _, row := range p.Panels {
			panels = slices.Concat(panels, row.Panels)
		}
		for _, p := range panels {
			where := fmt.Sprintf("%s: %q", name, p.Title)
			if checkFlames(t, where, p) {
				flames++
			}
			if checkExemplars(t, where, p) {
				traces++
			}
		}
		if flames > before && !profiles {
			t.Errorf("%s: has no variable profiles", name)
		}
	}
	if flames < 18 || traces < 12 {
		t.Errorf("%d panels lead to flame graphs and %d to traces: the test reads nothing", flames, traces)
	}
}

// profiled are the metrics whose panels lead to a flame graph, and what the
// profile is called by /debug/pprof/ui and by Pyroscope.
var profiled = []struct{ metric, page, pyroscope string }{
	{`go_cpu_time_seconds_total\{[^}]*go_cpu_state="gc"`, "allocs", "memory:alloc_space:bytes:space:bytes"},
	{`go_memory_allocated_bytes_total`, "allocs", "memory:alloc_space:bytes:space:bytes"},
	{`process_cpu_time_seconds_total`, "profile", "process_cpu:cpu:nanoseconds:cpu:nanoseconds"},
	{`observe_cpu_seconds_total`, "profile", "process_cpu:cpu:nanoseconds:cpu:nanoseconds"},
	{`go_schedule_duration_seconds(_bucket)?`, "profile", "process_cpu:cpu:nanoseconds:cpu:nanoseconds"},
	{`go_memory_used_bytes`, "heap", "memory:inuse_space:bytes:space:bytes"},
	{`go_goroutine_count`, "goroutine", "goroutines:goroutine:count:goroutine:count"},
}

// checkFlames wants a flame graph where there is one that explains the panel:
// from Pyroscope in the time that is shown, and of the instance whose line is
// clicked from that instance.
func checkFlames(t *testing.T, where string, p panel) bool {
	t.Helper()
	if p.Type == "table" || len(p.Targets) == 0 {
		return false
	}
	for _, about := range profiled {
		if !regexp.MustCompile(about.metric + `[{,]`).MatchString(p.Targets[0].Expr) {
			continue
		}
		var pane struct {
			Flame struct {
				Datasource string
				Range      struct{ From, To string }
				Queries    []struct {
					ProfileTypeID, LabelSelector string
					Datasource                   source
				}
			}
		}
		i := slices.IndexFunc(p.Links, func(l link) bool { return strings.HasPrefix(l.URL, "/explore?") && l.Type == "link" && l.TargetBlank })
		if i < 0 {
			t.Errorf("%s: no flame graph of %s", where, about.metric)
			return false
		}
		to, err := url.Parse(p.Links[i].URL)
		if err != nil || to.Query().Get("schemaVersion") != "1" {
			t.Errorf("%s: %v: %s", where, err, p.Links[i].URL)
			return false
		}
		if err := json.Unmarshal([]byte(to.Query().Get("panes")), &pane); err != nil || len(pane.Flame.Queries) != 1 {
			t.Errorf("%s: %v: %s", where, err, to.Query().Get("panes"))
			return false
		}
		f := pane.Flame
		if q := f.Queries[0]; q.ProfileTypeID != about.pyroscope || q.LabelSelector != `{service_name=~"${job:pipe}"}` || f.Datasource != "${profiles}" ||
			q.Datasource != (source{"grafana-pyroscope-datasource", "${profiles}"}) || f.Range.From != "${__from}" || f.Range.To != "${__to}" {
			t.Errorf("%s: opens %+v, want %s", where, f, about.pyroscope)
		}
		ofInstances := slices.ContainsFunc(p.Targets, func(q target) bool { return strings.Contains(q.LegendFormat, "{{instance}}") })
		want := "http://${__field.labels.instance}/debug/pprof/ui?profile=" + about.page
		if links := p.FieldConfig.Defaults.Links; ofInstances && (len(links) != 1 || links[0].URL != want) {
			t.Errorf("%s: a click on an instance opens %+v, want %s", where, links, want)
		}
		return true
	}
	return false
}

// exemplified are the histograms whose observations tell their trace.
var exemplified = regexp.MustCompile(`(http_server_request_duration_seconds|http_client_request_duration_seconds|db_client_operation_duration_seconds|` +
	`observe_dependency_duration_seconds|observe_cache_load_duration_seconds|observe_job_wait_seconds|observe_job_duration_seconds)(_bucket)?\{`)

// checkExemplars wants the dots that lead to a trace wherever durations are
// drawn. What is compared with another day, or joined with another metric, has none.
func checkExemplars(t *testing.T, where string, p panel) bool {
	t.Helper()
	if p.Type != "heatmap" && p.Type != "timeseries" || len(p.Targets) == 0 {
		return false
	}
	q, others := p.Targets[0], false
	for _, q := range p.Targets {
		others = others || strings.Contains(q.Expr, " offset ") || strings.Contains(q.Expr, "group_left (")
	}
	drawn := p.Type == "heatmap" || strings.Contains(q.Expr, "histogram_quantile(")
	want := drawn && !others && exemplified.MatchString(q.Expr)
	if want && !q.Exemplar {
		t.Errorf("%s: asks for no exemplars: %s", where, q.Expr)
	}
	return want
}

// A link to a page that is not shipped is a 404 in the middle of an incident.
func TestLinksLeadToPagesAndRunbooks(t *testing.T) {
	all := pages(t)
	to := regexp.MustCompile(`/d/([a-z0-9-]+)`)
	found := 0
	err := fs.WalkDir(dashboards.Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(dashboards.Files(), path)
		if err != nil {
			return err
		}
		for _, m := range to.FindAllSubmatch(raw, -1) {
			found++
			if _, ok := all[string(m[1])]; !ok {
				t.Errorf("%s: leads to page %s, which does not exist", path, m[1])
			}
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Fatalf("found %d links, %v", found, err)
	}

	var rules []byte
	for _, name := range []string{"prometheus/alerts.yaml", "prometheus/slo/slo.yaml"} {
		text, err := fs.ReadFile(dashboards.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, text...)
	}
	books := regexp.MustCompile(`runbook_url: (\S+)/(\w+\.md)`).FindAllSubmatch(rules, -1)
	if alerts := strings.Count(string(rules), "- alert: "); len(books) != alerts {
		t.Errorf("%d alerts, %d runbook_url", alerts, len(books))
	}
	for _, m := range books {
		if _, err := fs.Stat(dashboards.Files(), "runbooks/"+string(m[2])); err != nil {
			t.Errorf("runbook of an alert: %v", err)
		}
	}
}

// A misspelt metric is a service that is never scaled.
func TestAutoscalersAskForMetricsThatExist(t *testing.T) {
	known := map[string]bool{}
	for _, d := range observe.All() {
		known[d.Name] = true
	}
	asked := 0
	for _, file := range []string{"hpa", "keda", "prometheus-adapter"} {
		text, err := os.ReadFile("kubernetes/autoscaling/" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b(?:http|go|process|observe)_[a-z_]+\b`).FindAllString(string(text), -1) {
			asked++
			if !known[name] && name != "process_cpu_of_limit" { // which the adapter makes
				t.Errorf("no metric is called %s", name)
			}
		}
	}
	if asked < 10 {
		t.Errorf("%d metrics: the test reads nothing", asked)
	}
}
