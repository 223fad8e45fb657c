package observe

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/loadline-go/loadline/runtimemetrics"
)

func TestUnitsThatCannotWorkSayWhatWould(t *testing.T) {
	tel := start(t, Config{})
	for _, test := range []struct{ name, unit, want string }{
		{"shop_order_euros", "EUR", `observe: metric shop_order_euros: Unit "EUR": want lower-case words joined by underscores, like euros or seconds`},
		{"shop_order", "euros", `observe: metric shop_order: its unit is euros, so its name ends in _euros: shop_order_euros`},
		{"euros", "euros", `observe: metric euros: its unit is euros, so its name ends in _euros: euros_euros`},
		{"shop_revenue_total", "euros", `observe: metric shop_revenue_total: its unit is euros, so its name ends in _euros_total: shop_revenue_euros_total`},
		{"shop_wait_ms", "ms", `observe: metric shop_wait_ms: Unit "ms": Prometheus counts in base units: want "seconds"`},
		{"shop_basket_kib", "KiB", `observe: metric shop_basket_kib: Unit "KiB": Prometheus counts in base units: want "bytes"`},
		{"shop_full_percent", "percent", `observe: metric shop_full_percent: Unit "percent": Prometheus counts in base units: want "ratio"`},
		{"shop_full_ratio", "1", `observe: metric shop_full_ratio: Unit "1": Prometheus counts in base units: want "ratio"`},
	} {
		got := panicOf(func() {
			m := Metric{Name: test.name, Help: "h", Unit: test.unit}
			if strings.HasSuffix(test.name, "_total") {
				NewCounter[struct{}](tel, m)
			} else {
				NewGauge[struct{}](tel, m)
			}
		})
		if fmt.Sprint(got) != test.want {
			t.Errorf("got  %v\nwant %s", got, test.want)
		}
	}
}

// The unit stands where OpenMetrics has it, and never without the suffix that
// it asks for: Prometheus drops a whole scrape for that.
func TestUnitStandsInTheMetadata(t *testing.T) {
	tel := start(t, Config{})
	NewCounter[struct{}](tel, Metric{Name: "shop_revenue_euros_total", Unit: "euros", Help: "Revenue."})
	NewHistogram[struct{}](tel, Metric{Name: "shop_basket_items", Unit: "items", Help: "Baskets."})
	NewHistogram[struct{}](tel, Metric{Name: "shop_packing_seconds", Help: "Packing."})
	NewGauge[struct{}](tel, Metric{Name: "shop_full_ratio", Unit: "ratio", Help: "Full."}).Set(struct{}{}, 0.5)
	NewGauge[struct{}](tel, Metric{Name: "shop_open", Help: "Open."}).Set(struct{}{}, 1)
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	w := httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, r)
	text := w.Body.String()
	for _, want := range []string{"shop_revenue_euros euros", "shop_basket_items items", "shop_packing_seconds seconds", "shop_full_ratio ratio"} {
		if !strings.Contains(text, "# UNIT "+want+"\n") {
			t.Errorf("no # UNIT %s", want)
		}
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "# UNIT "); ok {
			if f := strings.Fields(rest); len(f) != 2 || strings.HasPrefix(f[0], "shop_") && !strings.HasSuffix(f[0], "_"+f[1]) {
				t.Error(line)
			}
		}
	}
	for _, d := range tel.metrics.definitions() {
		if want := map[string]string{"shop_revenue_euros_total": "{euros}", "shop_basket_items": "{items}", "shop_packing_seconds": "s", "shop_full_ratio": "1"}[d.Name]; d.Unit != want {
			t.Errorf("%s: unit %q, want %q", d.Name, d.Unit, want)
		}
	}
}

func TestUnitOfTheTableIsASuffixOrNone(t *testing.T) {
	for _, d := range All() {
		if u := unitSuffix(d); u != "" && !strings.HasSuffix(strings.TrimSuffix(d.Name, "_total"), "_"+u) {
			t.Errorf("%s: %s", d.Name, u)
		}
	}
	if got := unitSuffix(Description{Name: "http_server_active_requests", Kind: runtimemetrics.Gauge, Unit: "{request}"}); got != "" {
		t.Error(got)
	}
}
