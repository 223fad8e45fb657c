package observe

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/loadline-go/loadline/tracing"
)

// The attributes are those that the libraries set today, old and new names.
func TestServerSpansOfCallsAreServedProcedures(t *testing.T) {
	attr := attribute.String
	tel := start(t, Config{Tracing: tracing.Config{Sampler: sdktrace.NeverSample()}})
	active := func() float64 { return figures(t, tel, rpcServerActive.Name, "rpc_system_name")["grpc"] }
	known := map[string]bool{}
	serve := func(name string, failed bool, begin []attribute.KeyValue, end ...attribute.KeyValue) {
		t.Helper()
		before := active()
		_, s := otel.Tracer("library").Start(context.Background(), name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(begin...))
		want := before
		if known[name] {
			want++
		}
		if got := active(); got != want {
			t.Errorf("%s: %v in flight, want %v", name, got, want)
		}
		known[name] = true
		s.SetAttributes(end...)
		if failed {
			s.SetStatus(codes.Error, "")
		}
		s.End()
		s.End()
		if got := active(); got != before {
			t.Errorf("%s: %v in flight behind it, want %v", name, got, before)
		}
	}
	now := []attribute.KeyValue{attr("rpc.system.name", "grpc"), attr("rpc.method", "shop.Prices/Get")}
	old := []attribute.KeyValue{attr("rpc.system", "grpc"), attr("rpc.service", "shop.Prices"), attr("rpc.method", "Get")}
	serve("now", false, now, attr("rpc.response.status_code", "OK"))
	serve("now", false, now, attr("rpc.response.status_code", "NOT_FOUND"))
	serve("now", true, now, attr("rpc.response.status_code", "INTERNAL"))
	known["old"] = true // the same method
	serve("old", false, old, attribute.Int("rpc.grpc.status_code", 0))
	serve("old", true, old, attribute.Int("rpc.grpc.status_code", 14))
	serve("shop.Prices/Named", true, []attribute.KeyValue{attr("rpc.system.name", "grpc")})
	known["evil"] = false
	for i := range 3000 { // what anybody can ask for
		_, lost := otel.Tracer("library").Start(context.Background(), "x", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attr("rpc.system.name", "grpc"), attr("rpc.method", fmt.Sprint("evil/", i))))
		_ = lost // never ended, as grpc-go does with it
		known["evil"] = false
		serve("evil", true, []attribute.KeyValue{attr("rpc.system.name", "grpc"), attr("rpc.method", fmt.Sprint("evil/", i))}, attr("rpc.response.status_code", "UNIMPLEMENTED"))
	}
	got := map[string]float64{}
	for labels, m := range family(t, tel, rpcServerDuration.Name) {
		got[labels] = float64(m.GetHistogram().GetSampleCount())
	}
	want := map[string]float64{}
	for _, c := range []struct {
		method, status, errorType string
		n                         float64
	}{
		{"shop.Prices/Get", "OK", "", 2},
		{"shop.Prices/Get", "NOT_FOUND", "", 1},
		{"shop.Prices/Get", "INTERNAL", "INTERNAL", 1},
		{"shop.Prices/Get", "UNAVAILABLE", "UNAVAILABLE", 1},
		{"shop.Prices/Named", "", "_OTHER", 1},
		{"_OTHER", "UNIMPLEMENTED", "UNIMPLEMENTED", 3000},
	} {
		want["error_type="+c.errorType+" rpc_method="+c.method+" rpc_response_status_code="+c.status+" rpc_system_name=grpc"] = c.n
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A server span of anything else is no call, and one that says only later what
// it is counts, and was not in flight.
func TestOtherServerSpansAreNoProcedures(t *testing.T) {
	tel := start(t, Config{})
	_, s := otel.Tracer("library").Start(context.Background(), "GET", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.request.method", "GET")))
	s.End()
	if got := figures(t, tel, rpcServerDuration.Name); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	_, s = otel.Tracer("library").Start(context.Background(), "late", trace.WithSpanKind(trace.SpanKindServer))
	s.SetAttributes(attribute.String("rpc.system.name", "connect"))
	s.End()
	if got := figures(t, tel, rpcServerDuration.Name, "rpc_system_name", "rpc_method"); got["connect late"] != 1 {
		t.Errorf("got %v", got)
	}
	if got := figures(t, tel, rpcServerActive.Name); got[""] != 0 {
		t.Errorf("in flight %v", got)
	}
}
