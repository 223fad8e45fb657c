package benchmarks

import (
	"context"
	"net/http"
	"testing"
)

// A peer is one way to observe the two edges of HTTP. Its functions prepare
// it for one benchmark and clean up with b.Cleanup.
type peer struct {
	name      string
	handler   func(b *testing.B, routes map[string]http.HandlerFunc) http.Handler
	transport func(b *testing.B, base http.RoundTripper) http.RoundTripper
}

var peers = []peer{
	{"bare", bareHandler, bareTransport},
	{"promhttp", promhttpHandler, promhttpTransport},
	{"otelhttp-never", otelhttpHandler(never), otelhttpTransport(never)},
	{"otelhttp-always", otelhttpHandler(always), otelhttpTransport(always)},
	{"datadog-never", datadogHandler(never), datadogTransport(never)},
	{"datadog-always", datadogHandler(always), datadogTransport(always)},
	{"observe-never", observeHandler(never), observeTransport(never)},
	{"observe-always", observeHandler(always), observeTransport(always)},
}

// sampling says which traces are sampled.
type sampling bool

const (
	never  sampling = false
	always sampling = true
)

func bareHandler(_ *testing.B, routes map[string]http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range routes {
		mux.HandleFunc(pattern, h)
	}
	return mux
}

func bareTransport(_ *testing.B, base http.RoundTripper) http.RoundTripper { return base }

// discard is a transport that answers at once.
type discard struct{}

func (discard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body.Close()
	}
	return &http.Response{Status: "200 OK", StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

var background = context.Background()
