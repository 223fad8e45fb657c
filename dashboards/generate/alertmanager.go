package main

import "github.com/loadline-go/loadline/dashboards/internal/plan"

// alertmanager is an example of routes and inhibitions that fit the severities.
// The receivers are to be replaced.
func alertmanager() string {
	receiver := func(name string) any {
		return []pair{{"name", name}, {"webhook_configs", []any{[]pair{{"url", "https://" + name + ".example.com/"}}}}}
	}
	var inhibit []any
	for _, i := range plan.Inhibitions() {
		inhibit = append(inhibit, []pair{
			{"source_matchers", []any{i.Source}},
			{"target_matchers", list(i.Target)},
			{"equal", list(i.Equal)},
		})
	}
	return header + "# An example: take the routes and inhibit_rules, and put your own receivers in.\n" + yaml([]pair{
		{"route", []pair{
			{"receiver", "tickets"},
			{"group_by", []any{"cluster", "namespace", "job", "alertname"}},
			{"group_wait", "1m"}, {"group_interval", "10m"}, {"repeat_interval", "12h"},
			{"routes", []any{
				[]pair{{"matchers", []any{`alertname="Watchdog"`}}, {"receiver", "dead-mans-switch"}, {"group_wait", "0s"}, {"group_interval", "1m"}, {"repeat_interval", "50s"}},
				[]pair{{"matchers", []any{`severity=~"none|info"`}}, {"receiver", "nobody"}},
				// One page for a sick service, not one for each of its routes.
				[]pair{{"matchers", []any{`severity="critical"`}}, {"receiver", "pager"}, {"group_by", []any{"cluster", "namespace", "job"}}, {"group_wait", "10s"}, {"group_interval", "5m"}, {"repeat_interval", "1h"}},
				[]pair{{"matchers", []any{`category="telemetry"`}}, {"receiver", "observability-team"}, {"repeat_interval", "3d"}},
			}},
		}},
		{"inhibit_rules", inhibit},
		{"receivers", []any{receiver("tickets"), receiver("pager"), receiver("observability-team"), receiver("dead-mans-switch"), []pair{{"name", "nobody"}}}},
	})
}

func list(items []string) []any {
	var out []any
	for _, i := range items {
		out = append(out, i)
	}
	return out
}
