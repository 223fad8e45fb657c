package observe

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/loadline-go/loadline/tracing"
)

func TestServerSpansCarryTheHeadersThatAreAllowed(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	tel := start(t, Config{Headers: []string{"x-tenant"}, Tracing: tracing.Config{Exporter: exporter}})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Tenant", "acme")
	r.Header.Set("Cookie", "secret")
	r.Header.Set("Authorization", "secret")
	tel.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	if err := tel.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, a := range exporter.GetSpans()[0].Attributes {
		got[string(a.Key)] = a.Value.String()
		if a.Value.String() == "secret" {
			t.Errorf("%s is on the span", a.Key)
		}
	}
	if got["http.request.header.x-tenant"] != `["acme"]` {
		t.Errorf("attributes: %v", got)
	}
}

func TestHostPort(t *testing.T) {
	for _, test := range []struct {
		in, host string
		port     int
	}{
		{"example.com:80", "example.com", 80},
		{"example.com", "example.com", 0},
		{"127.0.0.1:65535", "127.0.0.1", 65535},
		{"127.0.0.1:65536", "127.0.0.1:65536", 0},
		{"127.0.0.1", "127.0.0.1", 0},
		{"[::1]:443", "::1", 443},
		{"[::1]", "::1", 0},
		{"::1", "::1", 0},
		{"2001:db8::7:80", "2001:db8::7:80", 0},
		{"host:", "host:", 0},
		{"host:http", "host:http", 0},
		{"host:000080", "host:000080", 0},
		{":80", ":80", 0},
		{"", "", 0},
		{"[", "", 0},
		{"]:1", "]", 1},
		{"9", "9", 0},
	} {
		if host, port := hostPort(test.in); host != test.host || port != test.port {
			t.Errorf("%q: %q and %d, want %q and %d", test.in, host, port, test.host, test.port)
		}
	}
}
