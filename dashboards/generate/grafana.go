package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/text"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/loadline-go/loadline/dashboards/internal/plan"
)

// source is the data source that the reader chooses at the top of the page.
// There is no __inputs: a file with it can be imported by hand but not
// provisioned.
var source = common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}

// tag joins the pages in one menu.
const tag = "loadline"

// grafana returns the page as Grafana imports it.
func grafana(d plan.Dashboard) (string, error) {
	page := dashboard.NewDashboard()
	page.Uid, page.Title, page.Description = &d.UID, &d.Title, &d.Description
	page.Tags = []string{tag}
	page.Editable = new(false)
	page.GraphTooltip = new(dashboard.DashboardCursorSyncCrosshair)
	page.Refresh = new("30s")
	page.Time = &dashboard.DashboardDashboardTime{From: "now-1h", To: "now"}
	page.Templating.List = variables(d)
	page.Annotations.List = marks()

	menu := link("Loadline")
	menu.Type, menu.Tags, menu.AsDropdown = dashboard.DashboardLinkTypeDashboards, []string{tag}, true
	page.Links = []dashboard.DashboardLink{menu}

	var id, y uint32
	for _, r := range d.Rows {
		id++
		row := dashboard.RowPanel{Type: "row", Id: id, Title: &r.Title, Collapsed: r.Collapsed, Panels: []dashboard.Panel{},
			GridPos: &dashboard.GridPos{X: 0, Y: y, W: 24, H: 1}}
		y++
		var panels []dashboard.Panel
		var x, high uint32
		for _, p := range r.Panels {
			w, h := uint32(p.Width), uint32(p.Height)
			if x+w > 24 {
				x, y, high = 0, y+high, 0
			}
			id++
			drawn, err := panel(p)
			if err != nil {
				return "", fmt.Errorf("panel %q: %w", p.Title, err)
			}
			drawn.Id = new(id)
			drawn.GridPos = &dashboard.GridPos{X: x, Y: y, W: w, H: h}
			panels = append(panels, drawn)
			x, high = x+w, max(high, h)
		}
		if r.Collapsed {
			// Grafana places what is inside a closed row when it is opened; to
			// the page it is one line high.
			row.Panels = panels
			y = row.GridPos.Y + 1
			page.Panels = append(page.Panels, dashboard.PanelOrRowPanel{RowPanel: &row})
			continue
		}
		y += high
		page.Panels = append(page.Panels, dashboard.PanelOrRowPanel{RowPanel: &row})
		for i := range panels {
			page.Panels = append(page.Panels, dashboard.PanelOrRowPanel{Panel: &panels[i]})
		}
	}
	return indent(page)
}

// indent writes JSON that a diff can be read of: sorted keys, and < > & as
// they are, which the marshalers of the SDK would escape.
func indent(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return "", err
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err = enc.Encode(tree)
	return b.String(), err
}

func link(title string) dashboard.DashboardLink {
	return dashboard.DashboardLink{Title: title, Type: dashboard.DashboardLinkTypeLink, Icon: "dashboard", Tags: []string{}, IncludeVars: true, KeepTime: true}
}

func variables(d plan.Dashboard) []dashboard.VariableModel {
	ds := dashboard.VariableModel{Type: dashboard.VariableTypeDatasource, Name: "datasource", Label: new("Data source"),
		Query: &dashboard.StringOrMap{String: new("prometheus")}, Hide: new(dashboard.VariableHideDontHide),
		Refresh: new(dashboard.VariableRefreshOnDashboardLoad), Multi: new(false), IncludeAll: new(false)}
	vars := []dashboard.VariableModel{ds}
	for _, v := range d.Variables() {
		vars = append(vars, dashboard.VariableModel{
			Type: dashboard.VariableTypeQuery, Name: v.Name, Label: new(v.Label), Datasource: &source,
			Query:      &dashboard.StringOrMap{Map: map[string]any{"query": v.Query, "refId": "variable-" + v.Name}},
			Definition: new(v.Query),
			Refresh:    new(dashboard.VariableRefreshOnTimeRangeChanged), Sort: new(dashboard.VariableSortAlphabeticalAsc),
			Multi: new(true), IncludeAll: new(true), AllValue: new(v.All), Hide: new(dashboard.VariableHideDontHide),
			Current: &dashboard.VariableOption{Selected: new(true), Text: text1("All"), Value: text1("$__all")},
		})
	}
	if d.Profiles() {
		vars = append(vars, profilesVariable())
	}
	return vars
}

func text1(s string) dashboard.StringOrArrayOfString {
	return dashboard.StringOrArrayOfString{ArrayOfString: []string{s}}
}

func marks() []dashboard.AnnotationQuery {
	var out []dashboard.AnnotationQuery
	for _, m := range plan.Marks() {
		out = append(out, dashboard.AnnotationQuery{
			Name: m.Name, Enable: true, Datasource: &source, IconColor: m.Color,
			Expr: new(m.Expr), Step: new("30s"), TitleFormat: new(m.Title),
		})
	}
	return out
}

// panel draws one panel, without its place on the page.
func panel(p plan.Panel) (dashboard.Panel, error) {
	out := dashboard.Panel{Title: new(p.Title), Type: string(p.Kind), Description: new(p.Description)}
	field := dashboard.NewFieldConfigSource()
	if p.Unit != "" {
		field.Defaults.Unit = new(p.Unit)
	}
	field.Defaults.Thresholds = thresholds(p.Warn, p.Page, p.LowIsBad)
	for i, q := range p.Queries {
		target := prometheus.Dataquery{Expr: q.Expr, RefId: new(refID(i)), Datasource: &source,
			EditorMode: new(prometheus.QueryEditorModeCode), Range: new(true), Instant: new(false)}
		if p.Kind != plan.Table {
			target.LegendFormat = new(q.Legend)
		}
		// One request for exemplars a panel: each further one brings the same dots.
		if p.Exemplars && i == 0 {
			target.Exemplar = new(true)
		}
		switch p.Kind {
		case plan.Table:
			target.Range, target.Instant, target.Format = new(false), new(true), new(prometheus.PromQueryFormatTable)
		case plan.Heatmap:
			target.Format = new(prometheus.PromQueryFormatHeatmap)
		}
		out.Targets = append(out.Targets, target)
	}
	if len(p.Queries) > 0 {
		out.Datasource = &source
	}
	if p.Drill != "" {
		more := link("More")
		more.Url = new(pageURL(p.Drill))
		more.IncludeVars, more.KeepTime = false, false // they are in the URL
		out.Links = []dashboard.DashboardLink{more}
	}
	if flame := p.Profile(); flame != "" {
		out.Links = append(out.Links, flameOverTime(flame))
		if ofInstances(p) {
			field.Defaults.Links = []dashboard.DashboardLink{flameNow(flame)}
		}
	}

	switch p.Kind {
	case plan.Stat:
		o := stat.NewOptions()
		o.ReduceOptions.Calcs = []string{"lastNotNull"}
		o.TextMode = common.BigValueTextModeValue
		out.Options = o
	case plan.Series:
		out.Options = seriesOptions()
		field.Defaults.Custom = seriesField(p)
		field.Defaults.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdPaletteClassic}
		if p.Unit == "percentunit" && !p.LowIsBad {
			field.Defaults.Min = new(0.0)
		}
	case plan.Table:
		o := table.NewOptions()
		o.SortBy = []common.TableSortByFieldState{{DisplayName: p.SortBy, Desc: new(true)}}
		out.Options = o
		field.Defaults.Custom = table.NewFieldConfig()
		out.Transformations = tableShape(p)
		field.Overrides = columns(p)
	case plan.Heatmap:
		o := heatmap.NewOptions()
		o.YAxis.Unit = new(p.Unit)
		o.Color.Scheme, o.Color.Mode = "Oranges", new(heatmap.HeatmapColorModeScheme)
		out.Options = o
		field.Defaults.Custom = &heatmap.FieldConfig{ScaleDistribution: &common.ScaleDistributionConfig{Type: common.ScaleDistributionLinear}}
	case plan.Timeline:
		o := statetimeline.NewOptions()
		o.ShowValue = common.VisibilityModeNever
		o.Legend = common.VizLegendOptions{DisplayMode: common.LegendDisplayModeList, Placement: common.LegendPlacementBottom, ShowLegend: false, Calcs: []string{}}
		o.Tooltip = common.VizTooltipOptions{Mode: common.TooltipDisplayModeSingle, Sort: common.SortOrderNone}
		out.Options = o
		field.Defaults.Custom = statetimeline.NewFieldConfig()
		field.Defaults.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdThresholds}
	case plan.Alerts:
		// The SDK has no package for this panel.
		out.Options = map[string]any{
			"alertInstanceLabelFilter": `{job=~"$job"}`, "alertName": "", "dashboardAlerts": false, "groupBy": []string{},
			"groupMode": "default", "maxItems": 20, "sortOrder": 3, "viewMode": "list",
			"stateFilter": map[string]any{"firing": true, "pending": true, "noData": false, "normal": false, "error": true},
		}
	case plan.Text:
		out.Options = &text.Options{Mode: text.TextModeMarkdown, Content: p.Description}
		out.Description = new("How to read this page.")
	default:
		return out, fmt.Errorf("unknown kind %q", p.Kind)
	}
	out.FieldConfig = field
	return out, nil
}

// refID is A, B, ... as Grafana's editor numbers them.
func refID(i int) string { return string(rune('A' + i)) }

// pageURL opens another page with what is chosen on this one.
func pageURL(uid string) string {
	return "/d/" + uid + "?${datasource:queryparam}&${cluster:queryparam}&${namespace:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
}

// thresholds are green, orange and red; the first step begins at nothing.
func thresholds(warn, page float64, lowIsBad bool) *dashboard.ThresholdsConfig {
	t := &dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: []dashboard.Threshold{{Color: "green"}}}
	switch {
	case warn == 0 && page == 0:
	case lowIsBad && warn == page:
		t.Steps = []dashboard.Threshold{{Color: "red"}, {Value: &warn, Color: "green"}}
	case lowIsBad:
		t.Steps = []dashboard.Threshold{{Color: "red"}, {Value: &page, Color: "orange"}, {Value: &warn, Color: "green"}}
	default:
		t.Steps = append(t.Steps, dashboard.Threshold{Value: &warn, Color: "orange"}, dashboard.Threshold{Value: &page, Color: "red"})
	}
	return t
}

func seriesOptions() *timeseries.Options {
	return &timeseries.Options{
		Legend: common.VizLegendOptions{DisplayMode: common.LegendDisplayModeTable, Placement: common.LegendPlacementBottom,
			ShowLegend: true, Calcs: []string{"mean", "max", "lastNotNull"}},
		Tooltip: common.VizTooltipOptions{Mode: common.TooltipDisplayModeMulti, Sort: common.SortOrderDescending},
	}
}

func seriesField(p plan.Panel) *timeseries.FieldConfig {
	f := &timeseries.FieldConfig{
		DrawStyle: new(common.GraphDrawStyleLine), LineWidth: new(1.0), FillOpacity: new(5.0),
		ShowPoints: new(common.VisibilityModeNever),
	}
	if p.Warn != 0 || p.Page != 0 {
		f.ThresholdsStyle = &common.GraphThresholdsStyleConfig{Mode: common.GraphThresholdsStyleModeDashed}
	}
	if p.Log {
		f.ScaleDistribution = &common.ScaleDistributionConfig{Type: common.ScaleDistributionLog, Log: new(10.0)}
	}
	if p.Stack {
		f.Stacking = &common.StackingConfig{Mode: new(common.StackingModeNormal), Group: new("A")}
		f.FillOpacity = new(30.0)
	}
	return f
}

// tableShape joins the queries of a table by their labels and names the columns.
func tableShape(p plan.Panel) []dashboard.DataTransformerConfig {
	names := map[string]string{}
	for label, heading := range headings {
		names[label] = heading
	}
	for i, q := range p.Queries {
		names["Value #"+refID(i)] = q.Legend
	}
	return []dashboard.DataTransformerConfig{
		{Id: "merge", Options: map[string]any{}},
		{Id: "organize", Options: map[string]any{
			"excludeByName": map[string]bool{"Time": true},
			"renameByName":  names,
		}},
	}
}

// headings are what labels are called in a table.
var headings = map[string]string{
	"job": "Service", "slo": "Objective of", "instance": "Instance", "http_request_method": "Method", "http_route": "Route",
	"dependency": "Dependency", "operation": "Operation", "db_namespace": "Database", "db_operation_name": "Operation",
	"db_system_name": "System", "service_version": "Version", "server_address": "Host", "server_port": "Port", "__name__": "Metric",
	"rpc_system_name": "System", "rpc_method": "Procedure", "messaging_system": "System", "messaging_destination_name": "Destination", "messaging_operation_name": "Operation", "go_version": "Go",
}

// opens says which page a click on a label opens, with which variable.
var opens = map[string][2]string{
	"Route":    {plan.RouteUID, "route"},
	"Service":  {plan.ServiceUID, "job"},
	"Instance": {plan.RuntimeUID, "instance"},
}

func columns(p plan.Panel) []dashboard.DashboardFieldConfigSourceOverrides {
	var out []dashboard.DashboardFieldConfigSourceOverrides
	override := func(name string, props ...dashboard.DynamicConfigValue) {
		out = append(out, dashboard.DashboardFieldConfigSourceOverrides{
			Matcher: dashboard.MatcherConfig{Id: "byName", Options: name}, Properties: props})
	}
	for _, q := range p.Queries {
		props := []dashboard.DynamicConfigValue{{Id: "unit", Value: q.Unit}}
		if q.Warn != 0 || q.Page != 0 {
			props = append(props,
				dashboard.DynamicConfigValue{Id: "thresholds", Value: thresholds(q.Warn, q.Page, false)},
				dashboard.DynamicConfigValue{Id: "custom.cellOptions", Value: map[string]any{"type": "color-text"}})
		}
		override(q.Legend, props...)
	}
	for _, heading := range []string{"Route", "Service", "Instance"} {
		to := opens[heading]
		url := pageURL(to[0])
		// The clicked value takes the place of what was chosen for it.
		url = strings.Replace(url, "${"+to[1]+":queryparam}&", "", 1)
		url = strings.Replace(url, "?", "?var-"+to[1]+"=${__value.raw:percentencode}&", 1)
		override(heading, dashboard.DynamicConfigValue{Id: "links", Value: []map[string]any{{"title": "Open " + strings.ToLower(heading), "url": url}}})
	}
	return out
}
