package benchmarks

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/loadline-go/loadline/observe"
	"github.com/loadline-go/loadline/observe/capture"
	"github.com/loadline-go/loadline/tracing"
)

// BenchmarkProfiling is one request over a kept-alive connection to an observed
// service that takes no profiles, and to one whose CPU is profiled all the time,
// with the route on each request's goroutine, and pushed with the others to a
// server in the same process, whose cost is counted in. By default a CPU profile
// runs for ten seconds a minute: that costs a sixth of the difference.
func BenchmarkProfiling(b *testing.B) {
	for _, p := range []struct {
		name  string
		every time.Duration
	}{{"off", -1}, {"pushed", time.Minute}} {
		b.Run(p.name, func(b *testing.B) {
			roomForSpans(b)
			server := ""
			if p.every > 0 {
				profiles := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
				b.Cleanup(profiles.Close)
				server = profiles.URL
			}
			tel, err := observe.Start(background, observe.Config{
				Service: "benchmarks", AdminAddr: observe.Off, Captures: capture.Config{Dir: observe.Off}, Logger: slog.New(slog.DiscardHandler),
				Tracing: tracing.Config{Sampler: sampler(never), Exporter: noSpans{}}, ProfileEvery: p.every, Profiles: observe.Profiles{Server: server},
			})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { tel.Shutdown(context.Background()) })
			srv := httptest.NewServer(tel.Handler(bareHandler(b, itemRoute)))
			b.Cleanup(srv.Close)
			time.Sleep(200 * time.Millisecond) // until the first profile runs
			measure(b, newExchange(b, srv.Listener.Addr().String()))
		})
	}
}
