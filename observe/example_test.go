package observe_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/tracing"
)

// observed starts what the examples share; a service has one Start, in main.
func observed() (context.Context, *observe.Telemetry, func()) {
	ctx := context.Background()
	tel, err := observe.Start(ctx, observe.Config{Service: "shop", AdminAddr: observe.Off})
	if err != nil {
		panic(err)
	}
	return ctx, tel, func() { tel.Shutdown(ctx) }
}

// printMetrics prints the lines of /metrics that begin with prefix.
func printMetrics(tel *observe.Telemetry, prefix string) {
	w := httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, prefix) {
			fmt.Print(line)
		}
	}
}

func ExampleStart() {
	ctx := context.Background()
	tel, err := observe.Start(ctx, observe.Config{Service: "shop", AdminAddr: "localhost:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tel.Shutdown(ctx)
	fmt.Println("admin pages:", tel.AdminAddr() != "")
	// Output: admin pages: true
}

func ExampleStart_mistakes() {
	_, err := observe.Start(context.Background(), observe.Config{MaxSeries: -1, AdminAddr: "9464"})
	fmt.Println(err)
	// Output:
	// observe: Start: Config.AdminAddr: "9464": want host:port, :port or "off"
	// Config.MaxSeries: -1 is negative
}

func ExampleNewCounter() {
	ctx, tel, end := observed()
	defer end()
	type order struct {
		Payment string
		Express bool
	}
	orders := observe.NewCounter[order](tel, observe.Metric{Name: "shop_orders_total", Help: "Orders placed."})
	orders.Add(ctx, order{Payment: "card"}, 1)
	orders.Add(ctx, order{Payment: "card", Express: true}, 2)
	printMetrics(tel, "shop_orders_total")
	// Output:
	// shop_orders_total{express="false",payment="card"} 1
	// shop_orders_total{express="true",payment="card"} 2
}

func ExampleNewHistogram() {
	ctx, tel, end := observed()
	defer end()
	baskets := observe.NewHistogram[struct{}](tel, observe.Metric{
		Name: "shop_basket_euros", Help: "Value of baskets at the checkout.", Unit: "euros", Buckets: []float64{10, 100},
	})
	baskets.Observe(ctx, struct{}{}, 25)
	printMetrics(tel, "shop_basket_euros")
	// Output:
	// shop_basket_euros_bucket{le="10"} 0
	// shop_basket_euros_bucket{le="100"} 1
	// shop_basket_euros_bucket{le="+Inf"} 1
	// shop_basket_euros_sum 25
	// shop_basket_euros_count 1
}

func ExampleNewGauge() {
	_, tel, end := observed()
	defer end()
	type shelf struct {
		ID int `label:"shelf"`
	}
	stock := observe.NewGauge[shelf](tel, observe.Metric{Name: "shop_stock_boxes", Help: "Boxes on a shelf."})
	stock.Set(shelf{7}, 12)
	stock.Add(shelf{7}, -2)
	printMetrics(tel, "shop_stock_boxes")
	// Output: shop_stock_boxes{shelf="7"} 10
}

func ExampleNewDistinct() {
	_, tel, end := observed()
	defer end()
	users := observe.NewDistinct[string](tel, observe.Metric{Name: "shop_active_users", Help: "Users who did something lately."})
	users.Seen("ada")
	users.Seen("ada") // again is not another
	printMetrics(tel, "shop_active_users")
	// Output:
	// shop_active_users{window="1h"} 1
	// shop_active_users{window="1m"} 1
	// shop_active_users{window="5m"} 1
}

func ExampleTelemetry_LogHandler() {
	ctx, tel, end := observed()
	defer end()
	withoutTime := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	log := slog.New(tel.LogHandler(slog.NewTextHandler(os.Stdout, withoutTime)))
	log.InfoContext(ctx, "ready")
	h := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		log.InfoContext(r.Context(), "order placed") // with trace_id and span_id
	}))
	r := httptest.NewRequest("POST", "/orders", nil)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	withoutTime.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "span_id" { // a new one each time
			return slog.Attr{}
		}
		return a
	}
	log = slog.New(tel.LogHandler(slog.NewTextHandler(os.Stdout, withoutTime)))
	h.ServeHTTP(httptest.NewRecorder(), r)
	// Output:
	// level=INFO msg=ready
	// level=INFO msg="order placed" trace_id=0af7651916cd43dd8448eb211c80319c
}

func ExampleTelemetry_Check() {
	_, tel, end := observed()
	defer end()
	tel.Check(observe.Check{Name: "database", Probe: func(context.Context) error { return nil }})
	tel.Check(observe.Check{Name: "cache", Probe: func(context.Context) error { return errors.New("connection refused") }})
	w := httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	fmt.Print(w.Code, "\n", w.Body)
	// Output:
	// 503
	// ok     database
	// failed cache: connection refused
	// not ready
}

// An instance whose queue is nearly full is taken out of the load balancer
// until it has worked off a part; it is not restarted for that.
func ExampleSaturation() {
	queue := make(chan int, 100)
	tel, err := observe.Start(context.Background(), observe.Config{
		Service: "mailer", AdminAddr: observe.Off,
		Saturation: observe.Saturation{
			SchedDelay: 200 * time.Millisecond,
			Fill:       func() float64 { return float64(len(queue)) / float64(cap(queue)) },
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tel.Shutdown(context.Background())
	for len(queue) < 95 {
		queue <- 1
	}
	for _, path := range []string{"/readyz", "/livez"} {
		w := httptest.NewRecorder()
		tel.Admin().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 503 failed saturation: 95 % full, the limit is 90 %
	// not ready
	// 200 alive
}

func ExampleTelemetry_Drain() {
	_, tel, end := observed()
	defer end()
	tel.Drain()
	w := httptest.NewRecorder()
	tel.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	fmt.Print(w.Code, " ", w.Body)
	// Output: 503 not ready: draining
}

func ExampleTelemetry_Serve() {
	ctx, tel, end := observed()
	defer end()
	ctx, cancel := context.WithCancel(ctx)
	mux := http.NewServeMux()
	cancel() // in real life SIGTERM ends it
	err := tel.Serve(ctx, &http.Server{Addr: "localhost:0", Handler: tel.Handler(mux)})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleTelemetry_Admin() {
	_, tel, end := observed()
	defer end()
	// Without a listener of its own (AdminAddr: observe.Off) it goes where the program wants it.
	mux := http.NewServeMux()
	mux.Handle("/", tel.Admin())
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/livez", nil))
	fmt.Print(w.Body)
	// Output: alive
}

func ExampleTelemetry_Handler() {
	_, tel, end := observed()
	defer end()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })
	h := tel.Handler(mux)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/users/42", nil))
	printMetrics(tel, "http_server_request_duration_seconds_count")
	// Output: http_server_request_duration_seconds_count{error_type="",http_request_method="GET",http_response_status_code="200",http_route="/users/{id}",url_scheme="http"} 1
}

func ExampleSetRoute() {
	_, tel, end := observed()
	defer end()
	// A router that is not a http.ServeMux tells what it matched.
	h := tel.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observe.SetRoute(r.Context(), "/teams/{team}")
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/teams/blue", nil))
	printMetrics(tel, "http_server_request_duration_seconds_count")
	// Output: http_server_request_duration_seconds_count{error_type="",http_request_method="GET",http_response_status_code="200",http_route="/teams/{team}",url_scheme="http"} 1
}

func ExampleTelemetry_Registry() {
	_, tel, end := observed()
	defer end()
	families, err := tel.Registry().Gather()
	for _, f := range families {
		if f.GetName() == "observe_ready" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetGauge().GetValue(), err)
		}
	}
	// Output: observe_ready 1 <nil>
}

func ExampleTelemetry_Shutdown() {
	ctx := context.Background()
	tel, err := observe.Start(ctx, observe.Config{AdminAddr: observe.Off, Tracing: tracing.Config{Disabled: true}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tel.Shutdown(ctx), tel.Shutdown(ctx)) // a second one changes nothing
	// Output: <nil> <nil>
}

func ExampleAll() {
	for _, d := range observe.All() {
		if d.Name == "http_server_active_requests" {
			fmt.Println(d.Kind, d.Unit, d.Labels)
			fmt.Println(d.Help)
		}
	}
	// Output:
	// gauge {request} [http_request_method url_scheme]
	// Requests whose handler is running.
}

// A function that is frozen between calls, as AWS Lambda does it, flushes
// before it answers: a frozen process sends nothing.
func ExampleTelemetry_Flush() {
	tel, err := observe.Start(context.Background(), observe.Config{Service: "thumbnails", AdminAddr: observe.Off})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tel.Shutdown(context.Background())

	handle := func(ctx context.Context, event string) (string, error) {
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
			defer cancel()
			if err := tel.Flush(ctx); err != nil {
				slog.Warn("telemetry was lost", "err", err)
			}
		}()
		err := tracing.Do(ctx, "thumbnail", func(ctx context.Context) error { return nil })
		return "done: " + event, err
	}
	fmt.Println(handle(context.Background(), "cat.jpg"))
	// Output: done: cat.jpg <nil>
}
