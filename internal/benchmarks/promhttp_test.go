package benchmarks

import (
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// seconds are the bounds that the semantic conventions advise for durations;
// every peer that can be told uses them.
var seconds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// promhttpHandler measures duration, count, requests in flight and the sizes,
// each route wrapped for itself, since promhttp does not know routes.
func promhttpHandler(_ *testing.B, routes map[string]http.HandlerFunc) http.Handler {
	in := promauto.With(prometheus.NewRegistry())
	labels := []string{"route", "code", "method"}
	sizes := prometheus.ExponentialBuckets(100, 10, 6)
	var (
		inFlight = in.NewGauge(prometheus.GaugeOpts{Name: "http_requests_in_flight"})
		count    = in.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total"}, labels)
		duration = in.NewHistogramVec(prometheus.HistogramOpts{Name: "http_request_duration_seconds", Buckets: seconds}, labels)
		request  = in.NewHistogramVec(prometheus.HistogramOpts{Name: "http_request_size_bytes", Buckets: sizes}, labels)
		response = in.NewHistogramVec(prometheus.HistogramOpts{Name: "http_response_size_bytes", Buckets: sizes}, labels)
	)
	mux := http.NewServeMux()
	for pattern, h := range routes {
		route := prometheus.Labels{"route": pattern}
		mux.Handle(pattern,
			promhttp.InstrumentHandlerInFlight(inFlight,
				promhttp.InstrumentHandlerDuration(duration.MustCurryWith(route),
					promhttp.InstrumentHandlerCounter(count.MustCurryWith(route),
						promhttp.InstrumentHandlerRequestSize(request.MustCurryWith(route),
							promhttp.InstrumentHandlerResponseSize(response.MustCurryWith(route), h))))))
	}
	return mux
}

func promhttpTransport(_ *testing.B, base http.RoundTripper) http.RoundTripper {
	in := promauto.With(prometheus.NewRegistry())
	labels := []string{"code", "method"}
	return promhttp.InstrumentRoundTripperInFlight(in.NewGauge(prometheus.GaugeOpts{Name: "http_client_in_flight"}),
		promhttp.InstrumentRoundTripperCounter(in.NewCounterVec(prometheus.CounterOpts{Name: "http_client_requests_total"}, labels),
			promhttp.InstrumentRoundTripperDuration(in.NewHistogramVec(prometheus.HistogramOpts{Name: "http_client_request_duration_seconds", Buckets: seconds}, labels), base)))
}
