package e2e

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loadline-go/loadline/internal/e2e/server"
	"github.com/loadline-go/loadline/internal/ingest"
)

// Three routes take one, three and six tenths of the CPU. Profiles tell so to a
// receiver of Pyroscope's wire format, and the metric on the scrape, and a trace
// that a collector got is found in them by its root span.
func TestProfilesTellCPUByRoute(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		g := new(ingest.Server)
		pyroscope := httptest.NewServer(g)
		defer pyroscope.Close()
		collector := server.StartCollector(t, server.CollectorConfig{})
		s := startSubject(t, append(otlp("grpc", collector.GRPC),
			"PYROSCOPE_SERVER_ADDRESS="+pyroscope.URL, "PYROSCOPE_BASIC_AUTH_USER=7", "PYROSCOPE_BASIC_AUTH_PASSWORD=secret", "PYROSCOPE_TENANT_ID=east"))

		shares, links, total := map[string]float64{}, map[string]bool{}, 0.0
		measure := func() {
			clear(shares)
			total = 0
			for _, p := range g.Of("cpu/") {
				for _, s := range p.Profile.Sample {
					if route := s.Label["route"]; len(route) == 1 && ingest.HasFunction(s, "main.burn") {
						shares[route[0]] += float64(s.Value[1]) / 1e9
						total += float64(s.Value[1]) / 1e9
						for _, id := range s.Label["span_id"] {
							links[id] = true
						}
					}
				}
			}
		}
		// 24 s of a processor are 2,400 samples, and 5 points five standard errors
		// of the largest share.
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		loaded := make(chan measured)
		go func() {
			var all measured
			for ctx.Err() == nil {
				for _, route := range []string{"/one/%d", "/three/%d", "/six/%d"} {
					m := load(t.Context(), s.url+route, 50, 2, 0)
					all.n, all.failed = all.n+m.n, all.failed+m.failed
				}
			}
			loaded <- all
		}()
		server.Eventually(t, 4*time.Minute, func() error {
			if measure(); total < 24 {
				return fmt.Errorf("%.1f s of CPU in profiles", total)
			}
			return nil
		})
		stop()
		if m := <-loaded; m.failed > 0 {
			t.Errorf("%d of %d requests failed", m.failed, m.n)
		}
		want := map[string]float64{"/one/{id}": .1, "/three/{id}": .3, "/six/{id}": .6}
		for route, share := range want {
			if got := shares[route] / total; math.Abs(got-share) > .05 {
				t.Errorf("%s: %.3f of the CPU in the profiles, want %.1f", route, got, share)
			}
		}
		time.Sleep(6 * time.Second) // a sample of the runtime, which divides
		counted := map[string]float64{}
		sum := 0.0
		for route := range want {
			counted[route] = sumText(t, s.admin+"/metrics", "observe_cpu_seconds_total", `http_route="`+route+`"`)
			sum += counted[route]
		}
		for route, share := range want {
			if got := counted[route] / sum; math.Abs(got-share) > .05 {
				t.Errorf("%s: %.3f of the CPU by the metric, want %.1f", route, got, share)
			}
		}
		// 1 % of the processors is no more than 2 % of what was used: the clients need the other one.
		if spent, used := sumText(t, s.admin+"/metrics", "observe_profiler_cpu_seconds_total"), sumText(t, s.admin+"/metrics", "process_cpu_time_seconds_total"); spent <= 0 || spent > used/50 {
			t.Errorf("profiling took %.3f s of %.1f s", spent, used)
		}
		for name, n := range s.stop(t) {
			if strings.HasPrefix(name, "profiles ") && n > 0 {
				t.Errorf("lost: %s %v", name, n)
			}
		}

		for _, kind := range []string{"cpu/", "goroutine/", "inuse_space/", "contentions/"} {
			all := g.Of(kind)
			if len(all) == 0 {
				t.Errorf("no %s arrived", kind)
			}
			for i, p := range all {
				if user, password, _ := (&http.Request{Header: p.Header}).BasicAuth(); user != "7" || password != "secret" || p.Header.Get("X-Scope-OrgID") != "east" {
					t.Errorf("%s: %q %q, tenant %q", kind, user, password, p.Header.Get("X-Scope-OrgID"))
				}
				if !strings.HasPrefix(p.Name, "subject{") || p.Until.Before(p.From) {
					t.Errorf("%s: %s from %v until %v", kind, p.Name, p.From, p.Until)
				}
				if kind == "cpu/" && i > 0 && p.From.Before(all[i-1].Until) {
					t.Errorf("a CPU profile from %v overlaps the one until %v", p.From, all[i-1].Until)
				}
			}
		}
		for _, err := range g.Errors() {
			t.Error(err)
		}
		joined := 0
		for _, span := range collector.Spans(t) {
			if id := span.Attributes["pyroscope.profile.id"]; id != "" {
				if id != span.SpanID {
					t.Errorf("span %s says that its profile is %s", span.SpanID, id)
				}
				if links[id] {
					joined++
				}
			}
		}
		if joined == 0 || joined < len(links)*9/10 { // a few were served before their sampling began or after it ended
			t.Errorf("%d of %d spans that profiles name were collected", joined, len(links))
		}
	}, server.Quick)
}

// Whatever the profile server does, requests are served as before and the end
// comes in time.
func TestProfileServerCannotHurt(t *testing.T) {
	lanes(t, func(t *testing.T, _ server.Lane) {
		stuck := make(chan struct{})
		defer close(stuck)
		for _, test := range []struct {
			name   string
			answer http.HandlerFunc
		}{
			{"absent", nil},
			{"500", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }},
			{"slow", func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-stuck:
				case <-r.Context().Done():
				}
			}},
		} {
			t.Run(test.name, func(t *testing.T) {
				g := &ingest.Server{Answer: test.answer}
				pyroscope := httptest.NewServer(g)
				defer pyroscope.Close()
				if test.answer == nil {
					pyroscope.Close()
				}
				s := startSubject(t, []string{"PYROSCOPE_SERVER_ADDRESS=" + pyroscope.URL}, "-shutdown", "25s")
				if m := load(t.Context(), s.url+"/one/%d", 500, 2, 0); m.failed > 0 {
					t.Errorf("%d of %d requests failed", m.failed, m.n)
				}
				lost := 0.0
				for name, n := range s.stop(t) {
					if slices.Contains([]string{"profiles export_failed", "profiles queue_full"}, name) {
						lost += n
					}
				}
				if lost < 2 { // the CPU and the goroutines at least
					t.Errorf("%v profiles were counted as lost", lost)
				}
				if (g.Requests() == 0) != (test.answer == nil) {
					t.Errorf("%d requests", g.Requests())
				}
			})
		}
	}, server.Quick)
}
