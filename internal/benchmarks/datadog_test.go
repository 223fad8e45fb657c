package benchmarks

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/DataDog/datadog-go/v5/statsd"
	httptrace "github.com/DataDog/dd-trace-go/contrib/net/http/v2"
	"github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"
)

// startDatadog starts the tracer with an agent that is a function: its
// requests are answered in memory.
func startDatadog(b *testing.B, s sampling) {
	b.Setenv("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false")
	b.Setenv("DD_REMOTE_CONFIGURATION_ENABLED", "false")
	rate := 0.0
	if s == always {
		rate = 1
	}
	err := tracer.Start(
		tracer.WithService("benchmarks"),
		tracer.WithHTTPClient(&http.Client{Transport: agent{}}),
		tracer.WithStatsdClient(&statsd.NoOpClientDirect{}),
		tracer.WithSamplingRules(tracer.TraceSamplingRules(tracer.Rule{Rate: rate})),
		tracer.WithLogger(silent{}),
		tracer.WithLogStartup(false),
	)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(tracer.Stop)
}

func datadogHandler(s sampling) func(*testing.B, map[string]http.HandlerFunc) http.Handler {
	return func(b *testing.B, routes map[string]http.HandlerFunc) http.Handler {
		startDatadog(b, s)
		mux := httptrace.NewServeMux(httptrace.WithService("benchmarks"))
		for pattern, h := range routes {
			mux.HandleFunc(pattern, h)
		}
		return mux
	}
}

func datadogTransport(s sampling) func(*testing.B, http.RoundTripper) http.RoundTripper {
	return func(b *testing.B, base http.RoundTripper) http.RoundTripper {
		startDatadog(b, s)
		return httptrace.WrapRoundTripper(base)
	}
}

// agent answers what a trace agent would.
type agent struct{}

func (agent) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	resp, _ := discard{}.RoundTrip(r)
	resp.Body = io.NopCloser(strings.NewReader("{}"))
	return resp, nil
}

type silent struct{}

func (silent) Log(string) {}
