package observe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// metricTable is /debug/metrics/table: what the metrics mean, for a program
// that makes dashboards of them.
type metricTable struct {
	Service string      `json:"service"`
	Program []metricRow `json:"program"`  // those that the program defined
	All     []metricRow `json:"loadline"` // observe.All
	SLOs    []sloRow    `json:"slos,omitempty"`
}

type metricRow struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"`
	Unit   string   `json:"unit,omitempty"` // UCUM
	Help   string   `json:"help"`
	Labels []string `json:"labels,omitempty"`
}

type sloRow struct {
	Name      string  `json:"name"`
	Route     string  `json:"route,omitempty"`
	Objective float64 `json:"objective"`
	Latency   float64 `json:"latency_seconds,omitempty"`
}

func sloRows(all []SLO) []sloRow {
	rows := make([]sloRow, len(all))
	for i, o := range all {
		rows[i] = sloRow{o.Name, o.Route, o.Objective, o.Latency.Seconds()}
	}
	return rows
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
	e.Encode(metricTable{t.config.Service, metricRows(t.metrics.definitions()), metricRows(All()), sloRows(t.config.SLOs)})
}

// ownRow is a metric of the program on the index page.
type ownRow struct{ Name, Help, Now string }

// ownRows reads the metrics of the program. What the page shows is what a
// scrape would.
func (t *Telemetry) ownRows() []ownRow {
	own := t.metrics.definitions()
	if len(own) == 0 {
		return nil
	}
	families, _ := t.metrics.registry.Gather() // what could be gathered
	rows := make([]ownRow, len(own))
	for i, d := range own {
		rows[i] = ownRow{Name: d.Name, Help: d.Help}
		for _, f := range families {
			if f.GetName() == d.Name {
				rows[i].Now = summary(f)
			}
		}
	}
	return rows
}

// summary tells a metric in a few words: the series where they are few, else
// their sum.
func summary(f *dto.MetricFamily) string {
	const few = 4
	unit := strings.TrimSuffix(" "+f.GetUnit(), " ")
	var sum, total float64
	var count uint64
	var each []string
	for _, m := range f.Metric {
		v := m.GetCounter().GetValue() + m.GetGauge().GetValue() // it is one of them
		sum += v
		count += m.GetHistogram().GetSampleCount()
		total += m.GetHistogram().GetSampleSum()
		var labels []string
		for _, l := range m.Label {
			labels = append(labels, cmp.Or(clip(l.GetValue(), 40), `""`))
		}
		each = append(each, strings.TrimSpace(strings.Join(labels, " ")+" "+figure(v)))
	}
	switch {
	case len(each) == 0, f.GetType() == dto.MetricType_HISTOGRAM && count == 0:
		return ""
	case f.GetType() == dto.MetricType_HISTOGRAM:
		return fmt.Sprintf("%d, mean %s", count, figure(total/float64(count))) + unit
	case len(each) <= few:
		slices.Sort(each)
		return strings.Join(each, ", ") + unit
	}
	return fmt.Sprintf("%s%s in %d series", figure(sum), unit, len(each))
}

// figure prints whole numbers whole and others with three digits.
func figure(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprint(int64(v))
	}
	return fmt.Sprintf("%.3g", v)
}
