package observe

import (
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"
)

func TestMetricTableListsWhatTheProgramDefined(t *testing.T) {
	tel := start(t, Config{Service: "shop", SLOs: []SLO{{Name: "pay", Route: "POST /pay", Objective: .99, Latency: 250 * time.Millisecond}}})
	NewHistogram[order](tel, Metric{Name: "shop_order_euros", Unit: "euros", Help: "Value of an order."})
	NewDistinct[int](tel, Metric{Name: "shop_active_users", Help: "Users."})
	r := httptest.NewRequest("GET", "http://localhost/debug/metrics/table", nil)
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, r)
	var got metricTable
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	want := []metricRow{
		{"shop_active_users", "gauge", "", "Users.", []string{"window"}},
		{"shop_order_euros", "histogram", "{euros}", "Value of an order.", []string{"payment_method", "express", "items", "shop_number"}},
	}
	if got.Service != "shop" || !reflect.DeepEqual(got.Program, want) || len(got.All) != len(All()) {
		t.Errorf("got %+v and %d of ours, want %+v", got.Program, len(got.All), want)
	}
	if want := []sloRow{{"pay", "POST /pay", .99, .25}}; !reflect.DeepEqual(got.SLOs, want) {
		t.Errorf("got %+v, want %+v", got.SLOs, want)
	}
	r.RemoteAddr = "192.0.2.1:1"
	w = httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, r)
	if w.Code != 403 {
		t.Errorf("a stranger gets %d", w.Code)
	}
}

func TestIndexShowsWhatTheProgramCounts(t *testing.T) {
	tel := start(t, Config{})
	orders := NewCounter[struct{ Method string }](tel, Metric{Name: "shop_orders_total", Help: "Orders."})
	orders.Add(t.Context(), struct{ Method string }{"card"}, 3)
	orders.Add(t.Context(), struct{ Method string }{""}, 1.5)
	value := NewHistogram[struct{}](tel, Metric{Name: "shop_order_euros", Unit: "euros", Help: "Value."})
	value.Observe(t.Context(), struct{}{}, 10)
	value.Observe(t.Context(), struct{}{}, 15.5)
	NewHistogram[struct{}](tel, Metric{Name: "shop_refund_euros", Help: "Refunds."})
	shelves := NewGauge[struct{ Shelf int }](tel, Metric{Name: "shop_stock_boxes", Unit: "boxes", Help: "Stock."})
	for i := range 10 {
		shelves.Set(struct{ Shelf int }{i}, float64(i))
	}
	got := map[string]string{}
	for _, row := range tel.ownRows() {
		got[row.Name] = row.Now
	}
	want := map[string]string{"shop_orders_total": `"" 1.5, card 3`, "shop_order_euros": "2, mean 12.8 euros", "shop_refund_euros": "", "shop_stock_boxes": "45 boxes in 10 series"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if start := (&Telemetry{metrics: newMetrics(1, nil, nil)}).ownRows(); start != nil {
		t.Errorf("%v of a program without metrics", start)
	}
}
