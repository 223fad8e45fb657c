package observe

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// promising starts a service with objectives whose handlers take and answer
// what the query says.
func promising(t *testing.T, all ...SLO) (*Telemetry, func(method, path string, took time.Duration, status int)) {
	t.Helper()
	tel := start(t, Config{SLOs: all, Captures: noCaptures, NoLeaks: true})
	mux := http.NewServeMux()
	var took time.Duration
	var status int
	answer := func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(took)
		w.WriteHeader(status)
	}
	mux.HandleFunc("GET /orders/{id}", answer)
	mux.HandleFunc("POST /orders/{id}", answer)
	mux.HandleFunc("/list", answer)
	mux.HandleFunc("/broken", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	h := tel.Handler(mux)
	return tel, func(method, path string, d time.Duration, s int) {
		took, status = d, s
		defer func() { _ = recover() }()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
	}
}

func kept(t *testing.T, tel *Telemetry) map[string]string {
	t.Helper()
	all := map[string]string{}
	for labels, m := range family(t, tel, "observe_slo_requests_total") {
		name, result, _ := strings.Cut(labels, " ")
		name, result = strings.TrimPrefix(name, "objective="), strings.TrimPrefix(result, "result=")
		all[name] += fmt.Sprintf(" %.0f %s", m.GetCounter().GetValue(), result)
	}
	return all
}

func TestSLOsCountGoodAndBadRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const within = 300 * time.Millisecond // no bound of a bucket
		tel, request := promising(t,
			SLO{Name: "available", Objective: 0.999},
			SLO{Name: "fast", Objective: 0.99, Latency: within},
			SLO{Name: "orders", Route: "/orders/{id}", Objective: 0.99},
			SLO{Name: "read", Route: "GET /orders/{id}", Objective: 0.9, Latency: within},
			SLO{Name: "nowhere", Route: "/no/such", Objective: 0.5},
			SLO{Name: "patient", Route: "/list", Objective: 0.5, Latency: time.Hour},
		)
		check := func(want map[string][2]int) {
			t.Helper()
			for _, s := range tel.slos.states() {
				if got := [2]int{int(s.Good), int(s.Bad)}; got != want[s.Name] {
					t.Errorf("%s: %v good and bad, want %v", s.Name, got, want[s.Name])
				}
			}
			scraped := kept(t, tel)
			for name, n := range want {
				if got := scraped[name]; !strings.Contains(got, fmt.Sprintf(" %d good", n[0])) || !strings.Contains(got, fmt.Sprintf(" %d bad", n[1])) {
					t.Errorf("%s: the scrape says%s, want %v", name, got, n)
				}
			}
		}
		// The zeros are there before the first request: a rate needs them.
		check(map[string][2]int{"available": {}, "fast": {}, "orders": {}, "read": {}, "nowhere": {}, "patient": {}})

		request("GET", "/orders/7", within, 200)   // just in time
		request("GET", "/orders/7", within+1, 200) // late by a nanosecond
		request("HEAD", "/orders/7", 0, 404)       // the client's mistake
		request("POST", "/orders/7", 0, 503)
		request("GET", "/list", 2*time.Hour, 200)
		request("GET", "/list", time.Minute, 200)
		request("GET", "/broken", 0, 200)     // its handler aborts: 500
		request("GET", "/no/route", 0, 200)   // 404 and unmatched
		request("GET", "/livez", within, 200) // a probe
		check(map[string][2]int{"available": {6, 2}, "fast": {3, 5}, "orders": {3, 1}, "read": {2, 1}, "nowhere": {}, "patient": {1, 1}})

		objectives := family(t, tel, "observe_slo_objective_ratio")
		if len(objectives) != 6 || objectives["objective=read"].GetGauge().GetValue() != 0.9 {
			t.Errorf("objectives %v", objectives)
		}
	})
}

// To be exact costs no bucket on the scrape.
func TestLatencyOfAnSLOIsNoBucket(t *testing.T) {
	buckets := func(all ...SLO) (classic, native int) {
		tel := start(t, Config{SLOs: all, Captures: noCaptures, NoLeaks: true})
		defer tel.Shutdown(t.Context())
		d, _ := tel.server.duration.with("GET", "/a", "200", "", "http")
		for i := range 1000 {
			d.own.observe(float64(i)/1000, 0)
		}
		for _, m := range family(t, tel, serverDuration.Name) {
			return len(m.GetHistogram().GetBucket()), len(m.GetHistogram().GetPositiveDelta())
		}
		return 0, 0
	}
	classic, native := buckets()
	withClassic, withNative := buckets(SLO{Name: "a", Objective: 0.9, Latency: 123 * time.Millisecond}, SLO{Name: "b", Objective: 0.9, Latency: time.Nanosecond}, SLO{Name: "c", Objective: 0.9, Latency: 1000 * time.Hour})
	if classic == 0 || native == 0 || classic != withClassic || native != withNative {
		t.Errorf("%d classic and %d native buckets without, %d and %d with objectives", classic, native, withClassic, withNative)
	}
}

func TestSLOsTellHowFastTheirBudgetBurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel, request := promising(t, SLO{Name: "available", Objective: 0.99})
		now := func() sloState { return tel.slos.states()[0] }
		if s := now(); s.Short.Rate != 0 || s.Long.Rate != 0 || s.burning() {
			t.Errorf("before the first request: %+v", s)
		}
		minutes := func(n, good, bad int) {
			for range n {
				for range good {
					request("GET", "/list", 0, 200)
				}
				for range bad {
					request("GET", "/list", 0, 500)
				}
				time.Sleep(time.Minute)
			}
		}
		time.Sleep(3 * time.Second) // no request at the moment of a sample
		minutes(90, 9, 1)           // a tenth fails: ten times what is allowed
		s := now()
		if math.Abs(s.Short.Rate-10) > 0.1 || math.Abs(s.Long.Rate-10) > 0.1 || s.burning() {
			t.Errorf("a tenth failed, of a hundredth allowed: %+v", s)
		}
		if s.Short.Over < shortBurn || s.Short.Over > shortBurn+2*burnEvery || s.Long.Over < longBurn || s.Long.Over > longBurn+2*burnEvery {
			t.Errorf("the windows are %v and %v", s.Short.Over, s.Long.Over)
		}
		if n := len(tel.slos.points); n > int(longBurn/burnEvery)+2 {
			t.Errorf("%d points are kept of an hour", n)
		}
		minutes(60, 1, 1)
		if s = now(); math.Abs(s.Long.Rate-50) > 1 || !s.burning() {
			t.Errorf("half fails for an hour: %+v", s)
		}
		if text := s.String(); !strings.Contains(text, "available: 5 of 10 requests of the last 5m3s were bad, 50.0 times what the objective of 0.99 allows") {
			t.Error(text)
		}
		minutes(6, 10, 0)
		if s = now(); s.Short.Rate != 0 || s.Long.Rate < fastBurn || s.burning() {
			t.Errorf("it stopped six minutes ago: %+v", s)
		}
	})
}

func TestFewRequestsDoNotBurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel, request := promising(t, SLO{Name: "available", Objective: 0.999})
		for range leastBad - 1 {
			request("GET", "/list", 0, 500)
		}
		time.Sleep(time.Minute)
		if s := tel.slos.states()[0]; s.Short.Rate < fastBurn || s.burning() {
			t.Errorf("nine failures page: %+v", s)
		}
		request("GET", "/list", 0, 500)
		if s := tel.slos.states()[0]; !s.burning() {
			t.Errorf("ten failures do not: %+v", s)
		}
	})
}

func TestServiceWithoutSLOsHasNoneOfTheirMetrics(t *testing.T) {
	tel := start(t, Config{Captures: noCaptures, NoLeaks: true})
	if len(family(t, tel, sloRequests.Name))+len(family(t, tel, sloObjective.Name)) != 0 || tel.slos.states() != nil {
		t.Error("metrics of objectives without an objective")
	}
}
