package benchmarks

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/tracing"
)

// startObserve starts all that a service gets by default, but for the listener
// and the captures.
func startObserve(b *testing.B, s sampling) *observe.Telemetry {
	roomForSpans(b)
	tel, err := observe.Start(background, observe.Config{
		Service:   "benchmarks",
		AdminAddr: observe.Off,
		// A machine that measures looks like a service in trouble, and the flight
		// recorder, once armed, would be what is measured.
		Captures: capture.Config{Dir: observe.Off},
		Tracing:  tracing.Config{Sampler: sampler(s), Exporter: noSpans{}},
		Logger:   slog.New(slog.DiscardHandler), // the warning that a queue is full
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tel.Shutdown(context.Background()) })
	return tel
}

func observeHandler(s sampling) func(*testing.B, map[string]http.HandlerFunc) http.Handler {
	return func(b *testing.B, routes map[string]http.HandlerFunc) http.Handler {
		return startObserve(b, s).Handler(bareHandler(b, routes))
	}
}

func observeTransport(s sampling) func(*testing.B, http.RoundTripper) http.RoundTripper {
	return func(b *testing.B, base http.RoundTripper) http.RoundTripper {
		return startObserve(b, s).Transport(base)
	}
}

func observeDB(s sampling) func(*testing.B) *sql.DB {
	return func(b *testing.B) *sql.DB { return startObserve(b, s).OpenDB(nothing{}, "items") }
}

// observeLog returns the context of a request that is being served.
func observeLog(b *testing.B) (ctx context.Context, h slog.Handler) {
	tel := startObserve(b, always)
	enter, leave, left := make(chan context.Context), make(chan struct{}), make(chan struct{})
	served := tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		enter <- r.Context()
		<-leave
	}))
	go func() {
		defer close(left)
		served.ServeHTTP(&response{header: http.Header{}}, itemRequest())
	}()
	b.Cleanup(func() { close(leave); <-left })
	return <-enter, tel.LogHandler(jsonHandler())
}

type orderLabels struct{ Method, Country string }

func observeCounter(b *testing.B) func(method, country string) {
	c := observe.NewCounter[orderLabels](startObserve(b, never), observe.Metric{Name: "shop_orders_total", Help: "Orders paid."})
	return func(method, country string) { c.Add(background, orderLabels{method, country}, 1) }
}

func observeHistogram(b *testing.B) func(method, country string) {
	h := observe.NewHistogram[orderLabels](startObserve(b, never), observe.Metric{Name: "shop_order_euros", Help: "Value of an order.", Buckets: seconds})
	return func(method, country string) { h.Observe(background, orderLabels{method, country}, 0.2) }
}

// observeScrape has the same series as the peers, and all else that observe
// tells of. The durations are those of handlers that do nothing: how a duration
// falls into the buckets makes no difference to the classic ones.
func observeScrape(b *testing.B) http.Handler {
	tel := startObserve(b, never)
	routes := map[string]http.HandlerFunc{}
	status := 0
	eachSeries(func(route string, _ int, _ float64) {
		routes["GET "+route] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	})
	served := tel.Handler(bareHandler(b, routes))
	eachSeries(func(route string, s int, _ float64) {
		status = s
		served.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", route, nil))
	})
	return tel.Admin()
}
