package doctor

import (
	"testing"
	"time"
)

// The slower a route gets, the fewer of its requests end: a few that are far beyond
// what is usual say as much as many. A rare route of which little is known is not new.
func TestAFewRequestsSayMuchWhenTheyAreFarBeyondTheUsual(t *testing.T) {
	for _, c := range []struct {
		name     string
		requests float64
		each     float64
		usual    Route
		sick     bool
	}{
		{"three far beyond", 3, 2, Route{Requests: 20, Seconds: 2, P99: .2}, true},
		{"one", 1, 2, Route{Requests: 20, Seconds: 2, P99: .2}, false},
		{"three no further than the slowest", 3, .2, Route{Requests: 20, Seconds: 2, P99: .2}, false},
		{"rare, as ever", 6, .30, Route{Requests: 3, Seconds: .8, P99: .3}, false},
		{"rare, and slower", 6, .90, Route{Requests: 3, Seconds: .8, P99: .3}, true},
	} {
		now := Window{Interval: 10 * time.Second, Routes: []Route{
			{Route: "GET /slow", Requests: c.requests, Seconds: c.requests * c.each, P50: c.each, P99: c.each},
			{Route: "GET /fast", Requests: 100, Seconds: .5, P50: .005, P99: .006},
		}}
		c.usual.Route = "GET /slow"
		usual := Window{Interval: 10 * time.Second, Routes: []Route{c.usual, {Route: "GET /fast", Requests: 100, Seconds: .5, P50: .005, P99: .006}}}
		r := Diagnose(Evidence{Now: now, Usual: usual, Running: time.Hour})
		if sick := r.Verdict == Sick; sick != c.sick || sick && (r.Findings[0].Cause != SlowRoute || r.Findings[0].Subject != "GET /slow") {
			t.Errorf("%s: %s", c.name, r)
		}
	}
}
