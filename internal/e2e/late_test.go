package e2e

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// With 1 % head sampling, 100,000 requests of which 500 are slow or fail, and
// two processes: the traces of those 500 arrive complete, and of the others
// those that the sampler took, and not one more.
func TestSlowAndFailedAlwaysHaveATrace(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		const requests, every, ratio = 100_000, 200, 0.01
		jaeger := server.StartJaeger(t)
		collector := server.StartCollector(t, server.CollectorConfig{Jaeger: jaeger.GRPC})
		env := append(otlp("grpc", collector.GRPC), "OTEL_TRACES_SAMPLER=parentbased_traceidratio", fmt.Sprintf("OTEL_TRACES_SAMPLER_ARG=%v", ratio))
		// Without relative slowness, what is slow on a busy machine is what was asked to be.
		leaf := startSubject(t, env, "-service", "leaf", "-late-factor", "-1")
		front := startSubject(t, env, "-service", "front", "-late-factor", "-1", "-leaf", leaf.url)

		type request struct {
			do     string
			id     string // its trace
			status int
			took   time.Duration
		}
		done := make([]request, requests)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 20 * time.Second}
		defer client.CloseIdleConnections()
		numbers := make(chan int)
		var wg sync.WaitGroup
		for range 48 {
			wg.Go(func() {
				for i := range numbers {
					r := &done[i]
					if i%every == every/2 {
						r.do = []string{"slow", "fail"}[i/every%2]
					}
					began := time.Now()
					resp, err := client.Get(fmt.Sprintf("%s/tasks/%d?do=%s", front.url, i, r.do))
					if err != nil {
						continue // its status stays 0
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					r.took, r.status, r.id = time.Since(began), resp.StatusCode, resp.Header.Get("Trace-Id")
				}
			})
		}
		began := time.Now()
		for i := range requests {
			// 10,000 a second at most: 50 to keep, below the default budget of 100.
			time.Sleep(time.Until(began.Add(time.Duration(i) * 100 * time.Microsecond)))
			numbers <- i
		}
		close(numbers)
		wg.Wait()
		took := time.Since(began)

		sampler := sdktrace.TraceIDRatioBased(ratio)
		expected := map[string]string{} // why, by trace
		sampled, kept := 0, 0
		for i, r := range done {
			wantStatus := http.StatusOK
			if r.do == "fail" {
				wantStatus = http.StatusInternalServerError
			}
			id, err := trace.TraceIDFromHex(r.id)
			if err != nil || r.status != wantStatus {
				t.Fatalf("request %d (%s): status %d, trace %q: %v", i, r.do, r.status, r.id, err)
			}
			switch {
			case sampler.ShouldSample(sdktrace.SamplingParameters{TraceID: id}).Decision == sdktrace.RecordAndSample:
				expected[r.id] = ""
				sampled++
			case r.do == "fail":
				expected[r.id] = "error"
				kept++
			case r.do == "slow":
				expected[r.id] = "slow"
				kept++
			case r.took >= time.Second: // the machine stood still
				t.Logf("request %d took %v without being asked to", i, r.took)
				expected[r.id] = "slow"
			}
		}
		for _, s := range []*subject{front, leaf} {
			if n := s.stop(t); sum(n, "traces") != 0 {
				t.Errorf("dropped: %v", n)
			}
		}

		spans := collector.Spans(t)
		byTrace := map[string]map[string]server.Span{} // by service and kind
		for _, s := range spans {
			if byTrace[s.TraceID] == nil {
				byTrace[s.TraceID] = map[string]server.Span{}
			}
			part := s.Service + " " + s.Kind
			if _, twice := byTrace[s.TraceID][part]; twice {
				t.Fatalf("trace %s has two spans %s", s.TraceID, part)
			}
			byTrace[s.TraceID][part] = s
		}
		for id, why := range expected {
			parts := byTrace[id]
			root, call, served := parts["front server"], parts["front client"], parts["leaf server"]
			if len(parts) != 3 || root.ParentID != "" || root.SpanID == "" || call.ParentID != root.SpanID || served.ParentID != call.SpanID {
				t.Errorf("trace %s (%q) is not complete: %+v", id, why, parts)
				continue
			}
			if got := root.Attributes["observe.keep_reason"]; got != why {
				t.Errorf("trace %s says it was kept for %q, want %q", id, got, why)
			}
			if t.Failed() {
				break
			}
		}
		extra := 0
		for id, parts := range byTrace {
			if _, ok := expected[id]; ok {
				continue
			}
			// What startSubject asks for until it is answered.
			if _, work := parts["front client"]; !work && len(parts) == 1 {
				continue
			}
			if extra++; extra <= 3 {
				t.Errorf("trace %s was neither sampled nor slow nor failed: %+v", id, parts)
			}
		}
		server.Eventually(t, 15*time.Second, func() error {
			stored := map[string]int{}
			for _, s := range jaeger.Spans(t, "front") {
				stored[s.TraceID]++
			}
			for id := range expected {
				if stored[id] != 3 {
					return fmt.Errorf("Jaeger has %d spans of trace %s, want 3", stored[id], id)
				}
			}
			return nil
		})
		t.Logf("%d requests in %v: %d sampled, %d kept late, %d traces arrived and %d more", requests, took.Round(time.Millisecond), sampled, kept, len(expected), extra)
	}, server.Full)
}
