package benchmarks

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// BenchmarkBusiness is one update of a metric of the program's own, with two
// labels whose values come from the request. A name ends with the instrument.
func BenchmarkBusiness(b *testing.B) {
	names := []string{"method", "country"}
	values := [][2]string{{"card", "SE"}, {"transfer", "DE"}, {"voucher", "IS"}}
	for _, p := range []struct {
		name string
		open func(*testing.B) func(method, country string)
	}{
		{"client_golang-values-counter", func(*testing.B) func(string, string) {
			c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shop_orders_total"}, names)
			return func(method, country string) { c.WithLabelValues(method, country).Add(1) }
		}},
		{"client_golang-map-counter", func(*testing.B) func(string, string) {
			c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shop_orders_total"}, names)
			return func(method, country string) {
				c.With(prometheus.Labels{"method": method, "country": country}).Add(1)
			}
		}},
		{"otel-counter", func(b *testing.B) func(string, string) {
			p, _ := otelMetrics(b)
			c, err := p.Meter("benchmarks").Int64Counter("shop.orders")
			if err != nil {
				b.Fatal(err)
			}
			return func(method, country string) {
				c.Add(background, 1, metric.WithAttributes(attribute.String("method", method), attribute.String("country", country)))
			}
		}},
		{"observe-counter", observeCounter},
		{"client_golang-values-histogram", func(*testing.B) func(string, string) {
			h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "shop_order_euros", Buckets: seconds}, names)
			return func(method, country string) { h.WithLabelValues(method, country).Observe(0.2) }
		}},
		{"client_golang-values-histogram-native-too", func(*testing.B) func(string, string) {
			h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "shop_order_euros", Buckets: seconds, NativeHistogramBucketFactor: 1.1}, names)
			return func(method, country string) { h.WithLabelValues(method, country).Observe(0.2) }
		}},
		{"otel-histogram", func(b *testing.B) func(string, string) {
			p, _ := otelMetrics(b)
			h, err := p.Meter("benchmarks").Float64Histogram("shop.order", metric.WithExplicitBucketBoundaries(seconds...))
			if err != nil {
				b.Fatal(err)
			}
			return func(method, country string) {
				h.Record(background, 0.2, metric.WithAttributes(attribute.String("method", method), attribute.String("country", country)))
			}
		}},
		{"observe-histogram", observeHistogram},
	} {
		b.Run(p.name, func(b *testing.B) {
			update, n := p.open(b), 0
			measure(b, func() {
				v := values[n]
				if n++; n == len(values) {
					n = 0
				}
				update(v[0], v[1])
			})
		})
	}
}
