package observe

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

type kind string

type order struct {
	PaymentMethod kind
	Express       bool
	Items         uint8
	Shop          int `label:"shop_number"`
}

func TestLabelsAreTheFieldsOfAStruct(t *testing.T) {
	tel := start(t, Config{})
	c := NewCounter[order](tel, Metric{Name: "shop_orders_total", Help: "Orders."})
	c.Add(t.Context(), order{"card", true, 255, -3}, 2)
	c.Add(t.Context(), order{"card", true, 255, -3}, 1)
	c.Add(t.Context(), order{}, 1)
	for _, n := range []float64{-1, math.NaN(), math.Inf(1)} {
		c.Add(t.Context(), order{}, n)
	}
	for labels, want := range map[string]float64{
		"express=true items=255 payment_method=card shop_number=-3": 3,
		"express=false items=0 payment_method= shop_number=0":       1,
	} {
		if got := family(t, tel, "shop_orders_total")[labels].GetCounter().GetValue(); got != want {
			t.Errorf("%s: %v, want %v; there is %v", labels, got, want, family(t, tel, "shop_orders_total"))
		}
	}
	g := NewGauge[struct{ Room string }](tel, Metric{Name: "shop_room_celsius", Help: "Temperature."})
	g.Set(struct{ Room string }{"\xffa"}, 20)
	g.Add(struct{ Room string }{"\xffa"}, -2.5)
	if got := family(t, tel, "shop_room_celsius")["room=�a"].GetGauge().GetValue(); got != 17.5 {
		t.Error(got)
	}
	h := NewHistogram[struct{}](tel, Metric{Name: "shop_basket_euros", Help: "Baskets.", Buckets: []float64{10, 100}})
	if got := family(t, tel, "shop_basket_euros")[""].GetHistogram(); got == nil {
		t.Error("a metric without labels is absent before its first event")
	}
	h.Observe(trace.ContextWithSpanContext(t.Context(), spanContext), struct{}{}, 12)
	h.Observe(nil, struct{}{}, 5) //lint:ignore SA1012 programs do it
	h.Observe(t.Context(), struct{}{}, math.Inf(1))
	got := family(t, tel, "shop_basket_euros")[""].GetHistogram()
	if got.GetSampleCount() != 2 || got.GetSampleSum() != 17 || len(got.GetBucket()) != 2 || got.GetBucket()[1].GetExemplar() == nil {
		t.Error(got)
	}
}

// A counter's exemplar is the trace of an event it counted: one a second, or at
// once for a larger one.
func TestCountersHaveExemplars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := start(t, Config{Captures: noCaptures})
		c := NewCounter[struct{}](tel, Metric{Name: "shop_revenue_euros_total", Help: "Revenue."})
		value := func() float64 {
			return family(t, tel, "shop_revenue_euros_total")[""].GetCounter().GetExemplar().GetValue()
		}
		c.Add(t.Context(), struct{}{}, 9) // no trace
		if got := value(); got != 0 {
			t.Errorf("an exemplar without a trace: %v", got)
		}
		traced := trace.ContextWithSpanContext(t.Context(), spanContext)
		for _, step := range []struct{ add, want float64 }{{5, 5}, {3, 5}, {7, 7}, {6, 7}} {
			c.Add(traced, struct{}{}, step.add)
			if got := value(); got != step.want {
				t.Errorf("after %v the exemplar is %v, want %v", step.add, got, step.want)
			}
		}
		time.Sleep(time.Second)
		c.Add(traced, struct{}{}, 1)
		if got := value(); got != 1 {
			t.Errorf("after a second the exemplar is %v, want 1", got)
		}
		if got := family(t, tel, "shop_revenue_euros_total")[""].GetCounter(); got.GetValue() != 31 || len(got.GetExemplar().GetLabel()) != 2 {
			t.Error(got)
		}
	})
}

func TestSnake(t *testing.T) {
	for in, want := range map[string]string{"PaymentMethod": "payment_method", "UserID": "user_id", "HTTPCode": "http_code", "ID": "id", "x": "x", "A1": "a1"} {
		if got := snake(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestMetricsThatCannotWorkPanicClearly(t *testing.T) {
	tel := start(t, Config{})
	NewGauge[struct{}](tel, Metric{Name: "shop_open", Help: "Open."})
	counter := func(name string) func() {
		return func() { NewCounter[struct{}](tel, Metric{Name: name, Help: "h"}) }
	}
	for _, test := range []struct {
		want string
		f    func()
	}{
		{`observe: metric name "": want lower-case words`, counter("")},
		{`observe: metric name "Shop_total": want lower-case words`, counter("Shop_total")},
		{`observe: metric shop_orders: a counter's name ends in _total`, counter("shop_orders")},
		{`observe: metric observe_dropped_total: the name is one of observe.All`, counter("observe_dropped_total")},
		{`observe: metric process_cpu_seconds_total: the name is taken`, counter("process_cpu_seconds_total")},
		{`observe: metric shop_open: the name is taken`, func() { NewGauge[struct{}](tel, Metric{Name: "shop_open", Help: "Open."}) }},
		{`observe: metric shop_open: the name is taken`, func() { NewHistogram[order](tel, Metric{Name: "shop_open", Help: "h"}) }},
		{`observe: metric x_total: only a counter's name ends in _total`, func() { NewGauge[struct{}](tel, Metric{Name: "x_total", Help: "h"}) }},
		{`observe: metric x_bucket: the suffix _bucket is taken`, func() { NewGauge[struct{}](tel, Metric{Name: "x_bucket", Help: "h"}) }},
		{`observe: metric x: Help is empty`, func() { NewGauge[struct{}](tel, Metric{Name: "x"}) }},
		{`observe: metric x: only a histogram has Buckets`, func() { NewGauge[struct{}](tel, Metric{Name: "x", Help: "h", Buckets: []float64{1}}) }},
		{`observe: metric x: Buckets: [1 1] are not finite numbers in ascending order`, func() { NewHistogram[struct{}](tel, Metric{Name: "x", Help: "h", Buckets: []float64{1, 1}}) }},
		{`observe: metric x: labels are the fields of a struct, not string`, func() { NewGauge[string](tel, Metric{Name: "x", Help: "h"}) }},
		{`observe: metric x: label field F: want a string, a boolean or an integer, not float64`, func() { NewGauge[struct{ F float64 }](tel, Metric{Name: "x", Help: "h"}) }},
		{`observe: metric x: two fields are called a`, func() {
			NewGauge[struct {
				A string
				B string `label:"a"`
			}](tel, Metric{Name: "x", Help: "h"})
		}},
		{`observe: metric x: label name "le"`, func() { NewGauge[struct{ Le string }](tel, Metric{Name: "x", Help: "h"}) }},
	} {
		if got := fmt.Sprint(panicOf(test.f)); !strings.HasPrefix(got, test.want) || strings.Contains(got, "\n") {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestBusinessMetricsMayBeUsedConcurrently(t *testing.T) {
	tel := start(t, Config{MaxSeries: 20})
	c := NewCounter[struct{ User int }](tel, Metric{Name: "shop_visits_total", Help: "Visits."})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				c.Add(t.Context(), struct{ User int }{i}, 1)
			}
		})
	}
	wg.Wait()
	sum := 0.0
	for _, m := range family(t, tel, "shop_visits_total") {
		sum += m.GetCounter().GetValue()
	}
	if n := len(family(t, tel, "shop_visits_total")); sum != 800 || n > 22 {
		t.Errorf("%v events in %d series, want 800 in about 20", sum, n)
	}
}

func TestBusinessMetricsDoNotAllocate(t *testing.T) {
	tel := start(t, Config{})
	c := NewCounter[order](tel, Metric{Name: "shop_orders_total", Help: "Orders."})
	g := NewGauge[order](tel, Metric{Name: "shop_open", Help: "Open."})
	h := NewHistogram[order](tel, Metric{Name: "shop_basket_euros", Help: "Baskets."})
	ctx, l := t.Context(), order{"card", true, 3, 4}
	if n := allocations(100, func() { c.Add(ctx, l, 1); g.Set(l, 1); g.Add(l, 1); h.Observe(ctx, l, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkBusiness(b *testing.B) {
	tel := start(b, Config{})
	type labels struct{ Method string }
	c := NewCounter[labels](tel, Metric{Name: "shop_orders_total", Help: "Orders."})
	h := NewHistogram[labels](tel, Metric{Name: "shop_basket_euros", Help: "Baskets."})
	b.Run("Counter.Add", func(b *testing.B) {
		for b.Loop() {
			c.Add(b.Context(), labels{"card"}, 1)
		}
	})
	b.Run("Histogram.Observe", func(b *testing.B) {
		ctx := context.Background()
		for b.Loop() {
			h.Observe(ctx, labels{"card"}, 12)
		}
	})
}

func TestMetricOfACollectorOfTheProgramMayNotBeTaken(t *testing.T) {
	tel := start(t, Config{})
	tel.Registry().MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "shop_open", Help: "h"}))
	if got := fmt.Sprint(panicOf(func() { NewGauge[order](tel, Metric{Name: "shop_open", Help: "h"}) })); !strings.HasPrefix(got, "observe: metric shop_open: the name is taken") {
		t.Error(got)
	}
}
