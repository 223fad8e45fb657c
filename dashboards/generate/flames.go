package main

import (
	"net/url"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/loadline-go/loadline/dashboards/internal/plan"
)

// pyroscope is what Pyroscope calls the profiles that Loadline pushes to it.
var pyroscope = map[plan.Profile]string{
	plan.CPUProfile:       "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
	plan.AllocProfile:     "memory:alloc_space:bytes:space:bytes",
	plan.HeapProfile:      "memory:inuse_space:bytes:space:bytes",
	plan.GoroutineProfile: "goroutines:goroutine:count:goroutine:count",
	plan.LockProfile:      "mutex:delay:nanoseconds:contentions:count",
}

// profilesSource is the type of Grafana's data source for Pyroscope.
const profilesSource = "grafana-pyroscope-datasource"

// profilesVariable is the data source that flame graphs over time come from. It
// takes the first there is and is not shown: who has none misses nothing.
func profilesVariable() dashboard.VariableModel {
	return dashboard.VariableModel{Type: dashboard.VariableTypeDatasource, Name: "profiles", Label: new("Profiles"),
		Query: &dashboard.StringOrMap{String: new(profilesSource)}, Hide: new(dashboard.VariableHideHideVariable),
		Refresh: new(dashboard.VariableRefreshOnDashboardLoad), Multi: new(false), IncludeAll: new(false)}
}

// flameOverTime opens Grafana's Explore with the profiles of the chosen service
// in the time that the panel shows.
func flameOverTime(p plan.Profile) dashboard.DashboardLink {
	pane := `{"flame":{"datasource":"${profiles}","queries":[{"refId":"A","datasource":{"type":"` + profilesSource + `","uid":"${profiles}"},` +
		`"queryType":"both","profileTypeId":"` + pyroscope[p] + `","labelSelector":"{service_name=~\"${job:pipe}\"}","groupBy":[]}],` +
		`"range":{"from":"${__from}","to":"${__to}"}}}`
	return flameLink("Flame graph of this time, from Pyroscope", "/explore?schemaVersion=1&panes="+escapeKeepingVariables(pane))
}

// flameNow opens the instance's own flame graphs, on the address that is scraped.
func flameNow(p plan.Profile) dashboard.DashboardLink {
	return flameLink("Flame graph of ${__field.labels.instance} now", "http://${__field.labels.instance}/debug/pprof/ui?profile="+string(p))
}

func flameLink(title, to string) dashboard.DashboardLink {
	l := link(title)
	l.Url, l.TargetBlank = &to, true
	l.IncludeVars, l.KeepTime = false, false // they are in the URL
	return l
}

// escapeKeepingVariables escapes a query's value except for Grafana's variables.
func escapeKeepingVariables(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		b.WriteString(url.QueryEscape(before))
		if !found {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, "}")
		b.WriteString("${" + name + "}")
		s = after
	}
}

// ofInstances tells whether the panel has a line for each instance.
func ofInstances(p plan.Panel) bool {
	for _, q := range p.Queries {
		if strings.Contains(q.Legend, "{{instance}}") {
			return true
		}
	}
	return false
}
