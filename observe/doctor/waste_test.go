package doctor

import (
	"strings"
	"testing"
	"time"
)

// What wastes a tenth of a route's or a dependency's time is good to know, and no
// reason to wake anybody.
func TestLittleWasteIsGoodToKnow(t *testing.T) {
	service := func() (w Window) {
		return Window{Interval: 10 * time.Second,
			Routes: []Route{{Route: "GET /list", Requests: 100, Seconds: 2, Waited: 1.5, Parts: []Part{
				{Name: "shop", Calls: 100, Seconds: .3}, {Name: "rates:443", Calls: 100, Seconds: 1.2},
			}}},
			Dependencies: []Dependency{{Name: "shop", Kind: "db", Calls: 100, Seconds: .3}, {Name: "rates:443", Kind: "http", Calls: 100, Seconds: 1.2}},
		}
	}
	for _, c := range []struct {
		name, want string
		change     func(*Window)
	}{
		{"as ever", "", func(*Window) {}},
		{"queries in a loop", "n-plus-one GET /list: a request of GET /list makes 40 queries (SELECT items) of shop", func(w *Window) {
			w.Routes[0].Repeated, w.Routes[0].Query, w.Routes[0].Parts[0].Calls = 100, "SELECT items", 4000
		}},
		{"too quick to matter", "", func(w *Window) {
			w.Routes[0].Repeated, w.Routes[0].Query, w.Routes[0].Parts[0].Calls, w.Routes[0].Parts[0].Seconds = 100, "SELECT items", 4000, .1
		}},
		{"connections used once", "connection-churn rates:443: 99 % of the calls of rates:443 open a connection", func(w *Window) {
			w.Dependencies[1].Connections, w.Dependencies[1].Connecting = 99, .2
		}},
	} {
		w := service()
		c.change(&w)
		r := Diagnose(Evidence{Now: w, Usual: w, Running: time.Hour})
		got := ""
		for _, f := range r.Findings {
			got += string(f.Cause) + " " + f.Subject + ": " + f.Summary
			if f.Level != Info {
				t.Errorf("%s: %s", c.name, f.Level)
			}
		}
		if got != c.want || r.Verdict != Healthy || c.want != "" && !strings.Contains(r.String(), "good to know") {
			t.Errorf("%s: %q, want %q\n%s", c.name, got, c.want, r)
		}
	}
}

// What wastes time without harming by what is usual must not become usual, once that
// is known well enough to tell.
func TestWasteIsNotToBeUsual(t *testing.T) {
	window := func(interval time.Duration) Window {
		n := interval.Seconds()
		return Window{Interval: interval,
			Routes: []Route{{Route: "GET /list", Requests: 50 * n, Seconds: 2 * n, P50: .04, P99: .06}},
			Pools:  []Pool{{Name: "shop", Max: 4, InUse: 4, Waits: 50 * n, WaitSeconds: 1.5 * n}},
		}
	}
	for usual, want := range map[time.Duration]bool{20 * time.Second: false, 10 * time.Minute: true} {
		r := Diagnose(Evidence{Now: window(10 * time.Second), Usual: window(usual), Running: time.Hour})
		if len(r.Findings) == 0 || r.Findings[0].Cause != PoolExhausted || r.Harmed != want {
			t.Errorf("usual for %v: harmed is %t: %s", usual, r.Harmed, r)
		}
	}
}

// A route that makes queries in a loop computes more, too: that is not its cause.
func TestALoopOfQueriesIsNoBurner(t *testing.T) {
	window := func(seconds, calls, waited, cpu float64) Window {
		w := Window{Interval: time.Duration(seconds) * time.Second, Runtime: Runtime{Processors: 2, CPUs: 2, CPU: cpu},
			Routes: []Route{
				{Route: "GET /list", Requests: 20 * seconds, CPU: cpu - .1, Waited: 20 * seconds * waited, Parts: []Part{{Name: "shop", Calls: 20 * seconds * calls, Seconds: 20 * seconds * waited}}},
				{Route: "GET /light", Requests: 50 * seconds, Seconds: .05 * seconds},
			},
			Dependencies: []Dependency{{Name: "shop", Kind: "db", Calls: 20 * seconds * calls, Seconds: 20 * seconds * waited}},
		}
		w.Routes[0].Seconds = w.Routes[0].Waited + (cpu-.1)*seconds
		return w
	}
	now := window(10, 200, .008, .9)
	now.Routes[0].Repeated, now.Routes[0].Query = now.Routes[0].Requests, "SELECT items"
	r := Diagnose(Evidence{Now: now, Usual: window(100, 1, .001, .2), Running: time.Hour})
	if len(r.Findings) != 1 || r.Findings[0].Cause != RepeatedQueries || r.Findings[0].Subject != "GET /list" {
		t.Error(r)
	}
}
