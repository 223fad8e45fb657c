package main

import (
	"regexp"
	"strings"

	"github.com/loadline-go/loadline/dashboards/internal/plan"
)

// sloth is the objectives of a service as https://sloth.dev makes rules of them.
func sloth(c plan.Config) string {
	var slos []any
	for _, o := range c.SLOs {
		events := []pair{
			{"error_query", "sum(rate(" + c.Bad(o) + "[{{.window}}]))"},
			{"total_query", "sum(rate(" + c.All(o) + "[{{.window}}]))"},
		}
		slos = append(slos, []pair{
			{"name", o.Name},
			{"objective", number(o.Percent())},
			{"description", o.Promise()},
			{"sli", []pair{{"events", events}}},
			{"alerting", []pair{
				{"name", "SLOBudgetBurn"},
				{"labels", append([]pair{{"category", "slo"}}, team(c)...)},
				{"annotations", []pair{
					{"summary", c.Job + ": the error budget of " + o.Name + " burns too fast"},
					{"runbook_url", strings.TrimSuffix(c.Runbooks, "/") + "/SLOBudgetBurnFast.md"},
				}},
				{"page_alert", []pair{{"labels", []pair{{"severity", string(plan.Page)}}}}},
				{"ticket_alert", []pair{{"labels", []pair{{"severity", string(plan.Ticket)}}}}},
			}},
		})
	}
	return header + "# sloth generate -i sloth.yaml: instead of prometheus/slo, not beside it.\n" +
		yaml([]pair{{"version", "prometheus/v1"}, {"service", c.Job}, {"slos", slos}})
}

// pyrra is the same for https://github.com/pyrra-dev/pyrra: an object for each objective.
func pyrra(c plan.Config) string {
	var docs [][]pair
	for _, o := range c.SLOs {
		labels := []pair{{"pyrra.dev/job", c.Job}}
		for _, p := range team(c) {
			labels = append(labels, pair{"pyrra.dev/" + p.key, p.value})
		}
		docs = append(docs, append(object("pyrra.dev/v1alpha1", "ServiceLevelObjective", objectName(c.Job+"-"+o.Name), c.Namespace, labels), pair{"spec", []pair{
			{"target", o.Percent()},
			{"window", c.Window()},
			{"description", o.Promise()},
			{"indicator", []pair{{"ratio", []pair{
				{"errors", []pair{{"metric", c.Bad(o)}}},
				{"total", []pair{{"metric", c.All(o)}}},
			}}}},
		}}))
	}
	return header + "# For Pyrra: instead of prometheus/slo, not beside it.\n" + documents(docs)
}

func team(c plan.Config) []pair {
	if c.Team == "" {
		return nil
	}
	return []pair{{"team", c.Team}}
}

// number is written as it is, without quotes.
type number string

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// objectName makes a name of a Kubernetes object.
func objectName(s string) string {
	s = strings.Trim(notInNames.ReplaceAllString(strings.ToLower(s), "-"), "-")
	return strings.Trim(s[:min(len(s), 63)], "-")
}
