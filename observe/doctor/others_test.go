package doctor

import (
	"testing"
	"time"
)

// A dependency whose calls fail for one of its users alone has answered the others: it
// is that route's deadline, or what it asks for.
func TestCallsThatFailForOneRouteAlone(t *testing.T) {
	window := func(events, reserve float64) Window {
		return Window{Interval: 10 * time.Second, Runtime: Runtime{Processors: 2, CPUs: 2},
			Routes: []Route{ // one request fails by itself
				{Route: "GET /events", Requests: 100, Errors: events + min(events, 1), Seconds: 1, Waited: .9, Parts: []Part{{Name: "stock", Calls: 100, Errors: events, Seconds: .9}}},
				{Route: "POST /reserve", Requests: 100, Errors: reserve, Seconds: 1, Waited: .9, Parts: []Part{{Name: "stock", Calls: 100, Errors: reserve, Seconds: .9}}},
			},
			Dependencies: []Dependency{{Name: "stock", Kind: "http", Calls: 200, Errors: events + reserve, Seconds: 1.8}},
		}
	}
	for _, c := range []struct {
		events, reserve float64
		cause           Cause
		subject         string
	}{
		{60, 0, RouteFailing, "GET /events"},
		{60, 30, DependencyFailing, "stock"},
	} {
		r := Diagnose(Evidence{Now: window(c.events, c.reserve), Usual: window(0, 0), Running: time.Hour})
		if len(r.Findings) != 1 || r.Findings[0].Cause != c.cause || r.Findings[0].Subject != c.subject || r.Findings[0].Level != Page {
			t.Errorf("%v and %v of 100 fail: %s", c.events, c.reserve, r)
		}
	}
}
