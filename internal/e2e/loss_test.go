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
// request anything that two runs without one do not differ by, too, and every
// span that it did not take is counted.
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
		// A receiver that takes half a second for each export gets what it can.
		c := server.StartCollector(t, server.CollectorConfig{})
		slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(500 * time.Millisecond)
			(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(&url.URL{Scheme: "http", Host: c.HTTP})
			}}).ServeHTTP(w, r)
		}))
		t.Cleanup(slow.Close)

		// Two identical subjects without a collector show the noise.
		none := []string{"OTEL_TRACES_EXPORTER=none", "OTEL_TRACES_SAMPLER=always_on"}
		quiet := [2]*subject{startSubject(t, none), startSubject(t, none)}
		type bad struct {
			name, protocol, endpoint string
			*subject
			p99 []time.Duration // by round
		}
		all := []*bad{
			{name: "nobody listens, http", protocol: "http/protobuf", endpoint: server.FreeAddr(t)},
			{name: "nobody listens, grpc", protocol: "grpc", endpoint: server.FreeAddr(t)},
			{name: "hangs, http", protocol: "http/protobuf", endpoint: hung},
			{name: "hangs, grpc", protocol: "grpc", endpoint: hung},
			{name: "resets, http", protocol: "http/protobuf", endpoint: resets},
			{name: "resets, grpc", protocol: "grpc", endpoint: resets},
			{name: "refuses, http", protocol: "http/protobuf", endpoint: strings.TrimPrefix(refuses.URL, "http://")},
			{name: "slow", protocol: "http/protobuf", endpoint: strings.TrimPrefix(slow.URL, "http://")},
		}
		for _, b := range all {
			b.subject = startSubject(t, append(otlp(b.protocol, b.endpoint), "OTEL_EXPORTER_OTLP_TIMEOUT=1000"))
		}

		const requests, rate, rounds = 500, 1000, 7
		produced := 1 // one request of startSubject's own, which is one span
		// measure loads all of them in turn, so that what else the machine does hits
		// each alike. The rounds of two identical subjects without a collector
		// differ: a bad one costs nothing that can be seen if half of its rounds
		// are no slower than the slowest of theirs.
		measure := func(t *testing.T) (visible []string) {
			p99 := func(s *subject) time.Duration {
				m := load(t.Context(), s.url+"/tasks/%d", requests, 4, rate)
				if m.failed > 0 {
					t.Errorf("%d of %d requests failed", m.failed, m.n)
				}
				return m.quantile(.99)
			}
			var without []time.Duration
			for _, b := range all {
				b.p99 = nil
			}
			for range rounds {
				without = append(without, p99(quiet[0]), p99(quiet[1]))
				for _, b := range all {
					b.p99 = append(b.p99, p99(b.subject))
				}
			}
			produced += rounds * requests * spansPerRequest
			slices.Sort(without)
			t.Logf("p99 without a collector %v, in %d rounds from %v to %v", without[rounds], 2*rounds, without[0], without[2*rounds-1])
			for _, b := range all {
				slices.Sort(b.p99)
				t.Logf("%-22s %v", b.name, b.p99[rounds/2])
				if b.p99[rounds/2] > without[2*rounds-1] {
					visible = append(visible, b.name)
				}
			}
			return visible
		}
		if visible := measure(t); len(visible) > 0 {
			now := measure(t)
			visible = slices.DeleteFunc(visible, func(name string) bool { return !slices.Contains(now, name) })
			if len(visible) > 0 {
				t.Errorf("requests are slower, twice in a row, with a collector that is: %q", visible)
			}
		}
		for _, s := range quiet {
			if dropped := s.stop(t); sum(dropped, "traces") != 0 {
				t.Errorf("nothing is configured, yet dropped: %v", dropped)
			}
		}

		for _, b := range all {
			t.Run(b.name, func(t *testing.T) {
				if resident := b.RSS(); resident > 100<<20 {
					t.Errorf("%d MB are resident", resident>>20)
				}
				t.Parallel() // the end takes seconds of waiting
				began := time.Now()
				dropped := b.stop(t)
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("the end took %v, the default ShutdownTimeout is 10 s", took)
				}
				arrived := 0
				if b.name == "slow" {
					if arrived = len(c.Spans(t)); arrived == 0 {
						t.Error("nothing arrived")
					}
				}
				if sum(dropped, "traces") != float64(produced-arrived) {
					t.Errorf("produced %d, arrived %d, yet dropped %v", produced, arrived, dropped)
				}
				// One for a kind of loss and minute.
				if n := complaints(b.Log()); n > 6 || n == 0 && b.name != "slow" {
					t.Errorf("%d log lines about the loss:\n%s", n, b.Log())
				}
			})
		}
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
