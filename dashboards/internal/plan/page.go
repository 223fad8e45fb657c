package plan

import "strings"

// Dashboards returns every page, the one to open first in front.
func (c Config) Dashboards() []Dashboard {
	pages := []Dashboard{c.Service(), c.Route(), c.Diagnosis(), c.SLO(), c.Runtime(), c.Dependencies(), c.Fleet(), c.Telemetry()}
	if len(c.Business) > 0 {
		pages = append(pages, c.BusinessPage())
	}
	return pages
}

// Exprs returns every PromQL expression of the page: panels, then marks.
func (d Dashboard) Exprs() []string {
	var all []string
	for _, r := range d.Rows {
		for _, p := range r.Panels {
			for _, q := range p.Queries {
				all = append(all, q.Expr)
			}
		}
	}
	for _, m := range Marks() {
		all = append(all, m.Expr)
	}
	return all
}

// A Variable is a choice at the top of a page, filled from a query.
type Variable struct {
	Name, Label, Query string
	All                string // what the choice "All" matches
}

// Variables returns the choices of a page. job and instance need one
// character at least, for a selector whose matchers may all be empty is
// refused; cluster and namespace are labels that many setups do not have.
func (d Dashboard) Variables() []Variable {
	vars := []Variable{
		{"cluster", "Cluster", "label_values(" + buildInfo + ", cluster)", ".*"},
		{"namespace", "Namespace", "label_values(" + buildInfo + `{cluster=~"$cluster"}, namespace)`, ".*"},
		{"job", "Service", "label_values(" + buildInfo + `{cluster=~"$cluster", namespace=~"$namespace"}, job)`, ".+"},
		{"instance", "Instance", "label_values(" + buildInfo + `{cluster=~"$cluster", namespace=~"$namespace", job=~"$job"}, instance)`, ".+"},
	}
	if d.Route {
		// The name with and without suffix: classic and native histograms.
		vars = append(vars, Variable{"route", "Route", `label_values({__name__=~"` + serverRequests + `(_count)?", job=~"$job"}, http_route)`, ".*"})
	}
	return vars
}

// A Mark is a line through all panels of a page at a moment worth knowing.
type Mark struct {
	Name, Color, Expr, Title string
}

// Marks returns what is marked on every page. Deploys and restarts come from
// the metrics themselves, so no pipeline has to report them; of an alert only
// its beginning is marked, since a shaded hour hides the lines.
func Marks() []Mark {
	s := scope{match: `cluster=~"$cluster", namespace=~"$namespace", job=~"$job"`}
	firing := s.where(`alertstate="firing"`).now(alerts)
	version := group(s.now(buildInfo), "job", "service_version")
	return []Mark{
		{"Deploys", "blue", version + " unless " + group(s.ago("90s").now(buildInfo), "job", "service_version"), "{{job}} {{service_version}}"},
		{"Restarts", "purple", "resets(" + s.now(uptime) + "[2m]) > 0", "{{job}} {{instance}} restarted"},
		{"Alerts", "red", firing + " unless " + s.where(`alertstate="firing"`).ago("1m").now(alerts), "{{alertname}} {{job}}"},
	}
}

// Fill puts values in the place of Grafana's variables, as Grafana does when
// everything is chosen, so that Prometheus can parse the expression.
func Fill(expr string) string {
	return strings.NewReplacer(
		"$__rate_interval", "5m", "$__range", "1h",
		"$cluster", ".*", "$namespace", ".*", "$job", ".+", "$instance", ".+", "$route", ".*",
	).Replace(expr)
}
