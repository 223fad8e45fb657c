package observe

import (
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"testing"
)

func TestMetricTableListsWhatTheProgramDefined(t *testing.T) {
	tel := start(t, Config{Service: "shop"})
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
	r.RemoteAddr = "192.0.2.1:1"
	w = httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, r)
	if w.Code != 403 {
		t.Errorf("a stranger gets %d", w.Code)
	}
}
