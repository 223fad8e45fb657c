package observe

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"testing"
)

func TestSeriesBeyondTheLimitAreOther(t *testing.T) {
	var log lines
	tel := start(t, Config{MaxSeries: 20, Logger: log.logger()})
	type labels struct{ Country, User string }
	c := NewCounter[labels](tel, Metric{Name: "shop_visits_total", Help: "Visits."})
	for i := range 1000 {
		c.Add(t.Context(), labels{"de", strconv.Itoa(i)}, 1)
	}
	got := family(t, tel, "shop_visits_total")
	if len(got) != 21 || got["country=de user=other"].GetCounter().GetValue() != 980 {
		t.Errorf("%d series, %v in other", len(got), got["country=de user=other"])
	}
	if n := family(t, tel, "observe_series_overflow_total")["label=user metric=shop_visits_total"].GetCounter().GetValue(); n != 980 {
		t.Errorf("overflow %v", family(t, tel, "observe_series_overflow_total"))
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "label=user") || !strings.Contains(log.String(), "shop_visits_total") {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
}

// countingHandler is a log handler that counts what it sees by the metric that warns.
type countingHandler struct {
	slog.Handler
	count func()
}

func (h countingHandler) Enabled(context.Context, slog.Level) bool        { return true }
func (h countingHandler) Handle(ctx context.Context, r slog.Record) error { h.count(); return nil }

func TestWarningOfAnOverflowMayCountInTheSameMetric(t *testing.T) {
	var c *Counter[struct{ N int }]
	tel := start(t, Config{MaxSeries: 2, Logger: slog.New(countingHandler{slog.DiscardHandler, func() { c.Add(t.Context(), struct{ N int }{-1}, 1) }})})
	c = NewCounter[struct{ N int }](tel, Metric{Name: "shop_visits_total", Help: "Visits."})
	for i := range 5 {
		c.Add(t.Context(), struct{ N int }{i}, 1) // hangs where the warning is logged under the metric's lock
	}
}

func TestSmallLimitLeavesFixedSetsAlone(t *testing.T) {
	var log lines
	tel := start(t, Config{MaxSeries: 1, Logger: log.logger()})
	if log.String() != "" || len(family(t, tel, "observe_series_overflow_total")) != 0 {
		t.Errorf("an idle service has overflown: %s", log.String())
	}
}
