package observe

import (
	"encoding/json"
	"net/http"
)

// metricTable is /debug/metrics/table: what the metrics mean, for a program
// that makes dashboards of them.
type metricTable struct {
	Service string      `json:"service"`
	Program []metricRow `json:"program"`  // those that the program defined
	All     []metricRow `json:"loadline"` // observe.All
}

type metricRow struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"`
	Unit   string   `json:"unit,omitempty"` // UCUM
	Help   string   `json:"help"`
	Labels []string `json:"labels,omitempty"`
}

func metricRows(all []Description) []metricRow {
	rows := make([]metricRow, len(all))
	for i, d := range all {
		rows[i] = metricRow{d.Name, string(d.Kind), d.Unit, d.Help, d.Labels}
	}
	return rows
}

func (t *Telemetry) serveMetricTable(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(metricTable{t.config.Service, metricRows(t.metrics.definitions()), metricRows(All())})
}
