package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// A collector that is not there, hangs, refuses, resets or is slow costs no
// request anything, and every span that it did not take is counted.
func TestUnreachableCollectorHurtsNobody(t *testing.T) {
	hung := listen(t, func(net.Conn) {}) // kept open and never read
	resets := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.(*net.TCPConn).SetLinger(0) // closing sends a reset
		_ = c.Close()
	})
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusBadRequest)
	}))
	t.Cleanup(refuses.Close)

	lanes(t, func(t *testing.T, _ server.Lane) {
		const requests, rate = 2000, 1000
		run := func(t *testing.T, env ...string) (measured, *subject) {
			s := startSubject(t, env)
			m := load(t.Context(), s.url+"/tasks/%d", requests, 4, rate)
			if m.failed > 0 {
				t.Errorf("%d of %d requests failed", m.failed, m.n)
			}
			return m, s
		}
		// Two identical runs without a collector configured show the noise.
		var quiet [2]measured
		measure := func(t *testing.T) {
			for i := range quiet {
				m, s := run(t, "OTEL_TRACES_EXPORTER=none", "OTEL_TRACES_SAMPLER=always_on")
				if dropped := s.stop(t); sum(dropped, "traces") != 0 {
					t.Errorf("nothing is configured, yet dropped: %v", dropped)
				}
				quiet[i] = m
			}
		}
		measure(t)
		moved := func(t *testing.T, m measured) (moved bool) {
			for _, q := range []float64{.5, .99} {
				a, b := quiet[0].quantile(q), quiet[1].quantile(q)
				// Two runs do not show the whole noise of a machine that does other things
				// too; an export in the way of a request would cost its timeout, 1 s.
				limit := 2*max(a, b) - min(a, b) + time.Duration(q*float64(20*time.Millisecond))
				t.Logf("p%-2v %v; twice without a collector %v and %v", 100*q, m.quantile(q), a, b)
				moved = moved || m.quantile(q) > limit
			}
			return moved
		}
		// unmoved runs the load with a bad collector, three times at most if the machine is busy otherwise.
		unmoved := func(t *testing.T, env ...string) (s *subject, attempt string) {
			for n := 1; ; n++ {
				attempt = fmt.Sprint(n)
				m, s := run(t, append(env, "OTEL_RESOURCE_ATTRIBUTES=e2e.attempt="+attempt)...)
				if !moved(t, m) {
					return s, attempt
				}
				if n == 3 {
					t.Error("requests are slower with a bad collector")
					return s, attempt
				}
				s.Kill()
				measure(t)
			}
		}

		for _, c := range []struct{ name, protocol, endpoint string }{
			{"nobody listens, http", "http/protobuf", server.FreeAddr(t)},
			{"nobody listens, grpc", "grpc", server.FreeAddr(t)},
			{"hangs, http", "http/protobuf", hung},
			{"hangs, grpc", "grpc", hung},
			{"resets, http", "http/protobuf", resets},
			{"resets, grpc", "grpc", resets},
			{"refuses, http", "http/protobuf", strings.TrimPrefix(refuses.URL, "http://")},
		} {
			t.Run(c.name, func(t *testing.T) {
				s, _ := unmoved(t, append(otlp(c.protocol, c.endpoint), "OTEL_EXPORTER_OTLP_TIMEOUT=1000")...)
				if resident := s.RSS(); resident > 100<<20 {
					t.Errorf("%d MB are resident", resident>>20)
				}
				t.Parallel() // the end takes seconds of waiting, in which the next load can run
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

		// A receiver that takes half a second for each export gets what it can.
		t.Run("slow", func(t *testing.T) {
			c := server.StartCollector(t, server.CollectorConfig{})
			slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(500 * time.Millisecond)
				(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
					p.SetURL(&url.URL{Scheme: "http", Host: c.HTTP})
				}}).ServeHTTP(w, r)
			}))
			t.Cleanup(slow.Close)
			s, attempt := unmoved(t, otlp("http/protobuf", strings.TrimPrefix(slow.URL, "http://"))...)
			dropped := sum(s.stop(t), "traces")
			arrived := 0
			for _, span := range c.Spans(t) {
				if span.Resource["e2e.attempt"] == attempt {
					arrived++
				}
			}
			t.Logf("%d arrived, %v dropped", arrived, dropped)
			if produced := requests*spansPerRequest + 1; float64(produced-arrived) != dropped || arrived == 0 {
				t.Errorf("produced %d, arrived %d, yet dropped %v", produced, arrived, dropped)
			}
		})
	}, server.Quick)
}

// listen accepts connections on a loopback address and gives each to f.
func listen(t *testing.T, f func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			_ = c.Close()
		}
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			go f(c)
		}
	}()
	return l.Addr().String()
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
				s := startSubject(t, otlp(protocol, endpoint))
				loaded := make(chan measured)
				go func() { loaded <- load(t.Context(), s.url+"/tasks/%d", requests, 4, rate) }()

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
				// How long the exporter stays away is its own back-off: the queue may be full
				// until then, so that a request of the load need not arrive. One asked for
				// again and again must.
				later := 0
				server.Eventually(t, 90*time.Second, func() error {
					later++
					waitOK(t, fmt.Sprintf("%s/tasks/%d", s.url, requests+later))
					time.Sleep(300 * time.Millisecond)
					if !slices.ContainsFunc(c.Spans(t), func(s server.Span) bool {
						n, err := strconv.Atoi(strings.TrimPrefix(s.Attributes["url.path"], "/tasks/"))
						return err == nil && n > requests
					}) {
						return fmt.Errorf("none of %d requests after the outage has arrived: the exporter did not come back", later)
					}
					return nil
				})
				// One request of startSubject's own, which is one span.
				produced := (requests+later)*spansPerRequest + 1
				var arrived int
				server.Eventually(t, 30*time.Second, func() error {
					arrived = len(c.Spans(t))
					if dropped := s.dropped(t); float64(produced-arrived) != dropped {
						return fmt.Errorf("produced %d, arrived %d, yet dropped %v", produced, arrived, dropped)
					}
					return nil
				})
				if dropped := sum(s.stop(t), "traces"); float64(produced-arrived) != dropped {
					t.Errorf("produced %d, arrived %d, yet dropped %v at the end", produced, arrived, dropped)
				}
				t.Logf("produced %d, arrived %d, of which %d before the kill", produced, arrived, before)
			})
		}
	}, server.Quick)
}
