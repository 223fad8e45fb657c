package e2e

import (
	"testing"

	"github.com/loadline-go/loadline/observe"
	dto "github.com/prometheus/client_model/go"
)

func gather(t *testing.T, tel *observe.Telemetry) []*dto.MetricFamily {
	t.Helper()
	families, err := tel.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// value adds up the counters, gauges or histogram counts of the metric's
// series that have all the labels.
func value(t *testing.T, tel *observe.Telemetry, name string, labels map[string]string) (sum float64) {
	t.Helper()
	return valueIn(gather(t, tel), name, labels)
}

func valueIn(families []*dto.MetricFamily, name string, labels map[string]string) (sum float64) {
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			matched := 0
			for _, l := range m.GetLabel() {
				if want, ok := labels[l.GetName()]; ok && want == l.GetValue() {
					matched++
				}
			}
			if matched == len(labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}
