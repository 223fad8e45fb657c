package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
)

const spansPerRequest = 3

// otlp is the environment of a program that sends every trace to the endpoint.
func otlp(protocol, endpoint string) []string {
	return []string{
		"OTEL_TRACES_SAMPLER=always_on",
		"OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + endpoint,
		"OTEL_BSP_SCHEDULE_DELAY=200",
	}
}

// A collector that is not there, does not answer or refuses costs no request
// anything, and every span that it did not get is counted.
func TestUnreachableCollectorHurtsNobody(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusBadRequest)
	}))
	t.Cleanup(refusing.Close)

	lanes(t, func(t *testing.T, _ server.Lane) {
		const requests, rate = 2000, 1000
		run := func(t *testing.T, env ...string) (measured, *subject) {
			s := startSubject(t, env...)
			m := load(t.Context(), s.url+"/work/%d", requests, 4, rate)
			if m.failed > 0 {
				t.Errorf("%d of %d requests failed", m.failed, m.n)
			}
			return m, s
		}
		unobserved, s := run(t, "OTEL_TRACES_EXPORTER=none", "OTEL_TRACES_SAMPLER=always_on")
		if dropped := s.stop(t); sum(dropped, "traces") != 0 {
			t.Errorf("nothing is configured, yet dropped: %v", dropped)
		}

		for _, c := range []struct{ name, protocol, endpoint string }{
			{"nobody listens, http", "http/protobuf", server.FreeAddr(t)},
			{"nobody listens, grpc", "grpc", server.FreeAddr(t)},
			{"silent, http", "http/protobuf", silent.Addr().String()},
			{"silent, grpc", "grpc", silent.Addr().String()},
			{"refuses, http", "http/protobuf", strings.TrimPrefix(refusing.URL, "http://")},
		} {
			t.Run(c.name, func(t *testing.T) {
				m, s := run(t, append(otlp(c.protocol, c.endpoint), "OTEL_EXPORTER_OTLP_TIMEOUT=1000")...)
				t.Logf("p50 %v, p99 %v; without a collector configured %v, %v; resident %d MB",
					m.quantile(.5), m.quantile(.99), unobserved.quantile(.5), unobserved.quantile(.99), s.RSS()>>20)
				// Export must not be felt. A machine that is busy otherwise is: hence the floor.
				if limit := max(3*unobserved.quantile(.5), 5*time.Millisecond); m.quantile(.5) > limit {
					t.Errorf("p50 is %v, more than %v", m.quantile(.5), limit)
				}
				if limit := max(3*unobserved.quantile(.99), 50*time.Millisecond); m.quantile(.99) > limit {
					t.Errorf("p99 is %v, more than %v", m.quantile(.99), limit)
				}
				began := time.Now()
				dropped := s.stop(t)
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("the end took %v, the default ShutdownTimeout is 10 s", took)
				}
				// One request of startSubject's own, which is one span.
				if want := float64(requests*spansPerRequest + 1); sum(dropped, "traces") != want {
					t.Errorf("dropped %v, %v in all; %v spans were produced and none exported", dropped, sum(dropped, "traces"), want)
				}
				if n := complaints(s.Log()); n < 1 || n > 3 {
					t.Errorf("%d log lines about the loss in seconds, want one for a kind and minute:\n%s", n, s.Log())
				}
			})
		}
	}, server.Quick)
}

// complaints counts log lines about telemetry that was lost.
func complaints(log string) (n int) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, `"level":"ERROR"`) {
			n++
		}
	}
	return n
}

// A collector that is killed in the middle of the load and comes back gets
// what is sent then, and what it never got is counted: not one span is
// unaccounted for.
func TestCollectorKilledAndRestarted(t *testing.T) {
	t.Parallel()
	lanes(t, func(t *testing.T, _ server.Lane) {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(strings.TrimSuffix(protocol, "/protobuf"), func(t *testing.T) {
				t.Parallel()
				const requests, rate = 4000, 400
				c := server.StartCollector(t, server.CollectorConfig{})
				endpoint := c.HTTP
				if protocol == "grpc" {
					endpoint = c.GRPC
				}
				s := startSubject(t, otlp(protocol, endpoint)...)
				loaded := make(chan measured)
				go func() { loaded <- load(t.Context(), s.url+"/work/%d", requests, 4, rate) }()

				server.Eventually(t, 10*time.Second, func() error {
					if got := len(c.Spans(t)); got < requests*spansPerRequest/5 {
						return fmt.Errorf("%d spans arrived", got)
					}
					return nil
				})
				c.Kill()
				before := len(c.Spans(t))
				time.Sleep(2 * time.Second) // the outage
				c.Restart()
				m := <-loaded
				if m.failed > 0 {
					t.Errorf("%d of %d requests failed", m.failed, m.n)
				}
				// One request of startSubject's own, which is one span.
				produced := requests*spansPerRequest + 1
				var arrived int
				// An export that failed is tried again after 5 s, give or take a half.
				server.Eventually(t, 20*time.Second, func() error {
					arrived = len(c.Spans(t))
					if dropped := s.dropped(t); float64(produced-arrived) != dropped {
						return fmt.Errorf("produced %d, arrived %d, yet dropped %v", produced, arrived, dropped)
					}
					return nil
				})
				last := fmt.Sprintf("/work/%d", requests-1)
				if !slices.ContainsFunc(c.Spans(t), func(s server.Span) bool { return s.Attributes["url.path"] == last }) {
					t.Errorf("the last request has not arrived: the exporter did not come back")
				}
				if dropped := sum(s.stop(t), "traces"); float64(produced-arrived) != dropped {
					t.Errorf("produced %d, arrived %d, yet dropped %v at the end", produced, arrived, dropped)
				}
				t.Logf("produced %d, arrived %d, of which %d before the kill", produced, arrived, before)
			})
		}
	}, server.Quick)
}
