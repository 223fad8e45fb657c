package main

import (
	"context"

	"github.com/loadline-go/loadline/observe"
)

// business is what the business asks:
//
//	who is here now         sum(shop_active_users{window="5m"})
//	orders a minute         60 * sum(rate(shop_orders_total{result="paid"}[5m]))
//	revenue an hour         3600 * sum(rate(shop_order_euros_sum[5m]))
//	revenue per request     sum(rate(shop_order_euros_sum[5m])) / sum(rate(http_server_request_duration_seconds_count[5m]))
//	the usual order         histogram_quantile(0.5, sum by (le) (rate(shop_order_euros_bucket[5m])))
//	how many fail to pay    sum(rate(shop_orders_total{result!="paid"}[5m])) / sum(rate(shop_orders_total[5m]))
type business struct {
	orders *observe.Counter[orderResult]
	value  *observe.Histogram[byMethod]
	users  *observe.Distinct[string]
}

// The labels: each has a few values, whoever orders. A customer is no label.
type (
	orderResult struct{ PaymentMethod, Result string }
	byMethod    struct{ PaymentMethod string }
)

func newBusiness(tel *observe.Telemetry) *business {
	return &business{
		orders: observe.NewCounter[orderResult](tel, observe.Metric{
			Name: "shop_orders_total", Help: "Orders by what became of the payment."}),
		value: observe.NewHistogram[byMethod](tel, observe.Metric{
			Name: "shop_order_euros", Unit: "euros", Help: "Value of the orders paid.", Buckets: []float64{10, 20, 50, 100, 200, 500}}),
		users: observe.NewDistinct[string](tel, observe.Metric{
			Name: "shop_active_users", Unit: "users", Help: "Customers who looked or ordered within the window."}),
	}
}

// ordered counts an order. The context makes the trace of this very order an
// exemplar: from a figure that looks odd to a request that made it so.
func (b *business) ordered(ctx context.Context, o order, result string) {
	b.orders.Add(ctx, orderResult{o.method, result}, 1)
	if result == "paid" {
		b.value.Observe(ctx, byMethod{o.method}, float64(o.cents)/100)
	}
}
